import type { ComponentType } from 'react';
import { BarGaugePanel } from './bargauge';
import { HeatmapPanel } from './heatmap';
import type { PanelProps } from './props';
import { StatPanel } from './stat';
import { TablePanel } from './table';
import { TextPanel } from './text';
import { TimeSeriesPanel } from './timeseries';

/** The panel types that are drawn. */
export const PANELS: Record<string, ComponentType<PanelProps>> = {
  bargauge: BarGaugePanel,
  heatmap: HeatmapPanel,
  stat: StatPanel,
  table: TablePanel,
  text: TextPanel,
  timeseries: TimeSeriesPanel,
};
