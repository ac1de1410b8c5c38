import type { DataFrame, TimeRange } from '@grafana/data';
import type { Panel } from '../dashboard';

/** What every panel type is drawn from; width and height in pixels. */
export interface PanelProps {
  panel: Panel;
  frames: DataFrame[];
  range: TimeRange;
  width: number;
  height: number;
}
