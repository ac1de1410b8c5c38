/** A dashboard: its name, links, variables, and panels in the grid. */

import { dateTime, makeTimeRange } from '@grafana/data';
import { Icon, Stack, Text, ToolbarButton, useTheme2 } from '@grafana/ui';
import type { Link, Panel } from '../dashboard';
import { box, gridHeight, MARGIN } from '../layout';
import type { Picture } from '../picture';
import type { Range } from '../timing';
import { type Filled, fillText } from '../variables';
import { DrawnPanel, type Drawn } from './panel';

interface Props {
  picture: Picture;
  /** By the panel's id. */
  drawn: Map<number, Drawn>;
  /** Of the page, in pixels. */
  width: number;
  /** Called with the panel that could not be drawn. */
  onError: (panel: Panel, error: Error) => void;
}

export function DashboardPage({ picture, drawn, width, onError }: Props) {
  const { dashboard, range, variables } = picture;
  const between = makeTimeRange(dateTime(range.from), dateTime(range.to));
  return (
    <div style={{ width, padding: MARGIN, boxSizing: 'border-box' }}>
      <Stack direction="column" gap={2}>
        <Header title={dashboard.title} range={range} />
        <Controls variables={variables} links={dashboard.links ?? []} />
        <div style={{ position: 'relative', height: gridHeight(dashboard.panels) }}>
          {dashboard.panels.map((panel) => {
            const place = box(panel.gridPos, width);
            const title = fillText(panel.title ?? '', variables);
            return (
              <div key={panel.id} style={{ position: 'absolute', ...place }}>
                {panel.type === 'row' ? (
                  <Row panel={panel} title={title} />
                ) : (
                  <DrawnPanel
                    panel={panel}
                    title={title}
                    drawn={drawn.get(panel.id) ?? { frames: [] }}
                    range={between}
                    {...place}
                    onError={(error) => onError(panel, error)}
                  />
                )}
              </div>
            );
          })}
        </div>
      </Stack>
    </div>
  );
}

function Header({ title, range }: { title: string; range: Range }) {
  return (
    <Stack justifyContent="space-between" alignItems="center">
      <Text element="h1" variant="h3">
        {title}
      </Text>
      <ToolbarButton icon="clock-nine" variant="canvas">
        {range.text}
      </ToolbarButton>
    </Stack>
  );
}

function Controls({ variables, links }: { variables: Filled[]; links: Link[] }) {
  return (
    <Stack justifyContent="space-between">
      <Stack gap={2}>
        {variables
          .filter(({ hidden }) => !hidden)
          .map(({ name, label, text }) => (
            <VariableValue key={name} label={label} text={text} />
          ))}
      </Stack>
      <Stack gap={1}>
        {links.map(({ title }) => (
          <ToolbarButton key={title} icon="apps" variant="canvas">
            {title}
          </ToolbarButton>
        ))}
      </Stack>
    </Stack>
  );
}

function VariableValue({ label, text }: { label: string; text: string }) {
  const { colors, components, spacing, typography } = useTheme2();
  const part = {
    display: 'flex',
    alignItems: 'center',
    gap: spacing(1),
    height: spacing(4),
    padding: spacing(0, 1),
    border: `1px solid ${colors.border.medium}`,
    fontSize: typography.size.sm,
  };
  return (
    <div style={{ display: 'flex' }}>
      <span style={{ ...part, borderRight: 0, background: colors.background.primary }}>{label}</span>
      <span style={{ ...part, background: components.input.background }}>
        {text}
        <Icon name="angle-down" />
      </span>
    </div>
  );
}

function Row({ panel, title }: { panel: Panel; title: string }) {
  return (
    <Stack alignItems="center" gap={1} height="100%">
      <Icon name={panel.collapsed ? 'angle-right' : 'angle-down'} />
      <Text element="h2" variant="h5">
        {title}
      </Text>
      {panel.collapsed && <Text color="secondary">({panel.panels?.length ?? 0} panels)</Text>}
    </Stack>
  );
}
