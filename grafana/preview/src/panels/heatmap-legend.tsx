import { formattedValueToString, getValueFormat } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';

/** The color of a share of the highest count. */
export type Color = (share: number) => string;

const TICKS = [0, 0.25, 0.5, 0.75, 1];

/** The colors of a heatmap and the counts that they stand for. */
export function HeatmapLegend({ max, color, height }: { max: number; color: Color; height: number }) {
  const { typography, colors, spacing } = useTheme2();
  const stops = Array.from({ length: 11 }, (_, index) => color(index / 10));
  const text = { fontSize: typography.bodySmall.fontSize, color: colors.text.secondary };
  return (
    <div style={{ width: 280, height, paddingTop: spacing(1), ...text }}>
      <div style={{ height: 8, background: `linear-gradient(to right, ${stops.join(', ')})` }} />
      <div style={{ display: 'flex', justifyContent: 'space-between' }}>
        {TICKS.map((share) => (
          <span key={share}>{formattedValueToString(getValueFormat('short')(share * max))}</span>
        ))}
      </div>
    </div>
  );
}
