/** One panel in its frame. */

import type { DataFrame, TimeRange } from '@grafana/data';
import { ErrorBoundary, PanelChrome, Text } from '@grafana/ui';
import type { Panel } from '../dashboard';
import { PANELS } from '../panels';
import type { PanelProps } from '../panels/props';

/** What a panel shows, or why it shows nothing. */
export interface Drawn {
  frames: DataFrame[];
  problem?: string;
}

interface Props {
  panel: Panel;
  title: string;
  drawn: Drawn;
  range: TimeRange;
  /** Pixels, as `height`. */
  width: number;
  height: number;
  onError: (error: Error) => void;
}

export function DrawnPanel({ panel, title, drawn: { frames, problem }, range, width, height, onError }: Props) {
  return (
    <PanelChrome
      title={title}
      description={panel.description}
      displayMode={panel.transparent ? 'transparent' : 'default'}
      statusMessage={problem}
      width={width}
      height={height}
    >
      {(innerWidth, innerHeight) => (
        <ErrorBoundary onError={onError} errorLogger={() => {}}>
          {({ error }) =>
            error ? null : (
              <Content panel={panel} frames={frames} range={range} width={innerWidth} height={innerHeight} />
            )
          }
        </ErrorBoundary>
      )}
    </PanelChrome>
  );
}

function Content(props: PanelProps) {
  const { panel, frames, width, height } = props;
  const Visualization = PANELS[panel.type];
  if (!Visualization) {
    return null;
  }
  if (panel.targets && frames.length === 0 && panel.type !== 'stat') {
    return (
      <div style={{ width, height, display: 'grid', placeItems: 'center' }}>
        <Text color="secondary">{panel.fieldConfig?.defaults.noValue ?? 'No data'}</Text>
      </div>
    );
  }
  return <Visualization {...props} />;
}
