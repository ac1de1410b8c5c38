/** What Grafana takes where a panel's JSON says nothing. */

import { type FieldConfig, FieldColorModeId, ThresholdsMode } from '@grafana/data';

const LINE = {
  drawStyle: 'line',
  lineInterpolation: 'linear',
  lineWidth: 1,
  fillOpacity: 0,
  gradientMode: 'none',
  showPoints: 'auto',
  pointSize: 5,
  spanNulls: false,
  stacking: { mode: 'none', group: 'A' },
  scaleDistribution: { type: 'linear' },
  thresholdsStyle: { mode: 'off' },
};

/** The field options of a panel type. */
export function fieldDefaults(type: string): FieldConfig {
  const lines = type === 'timeseries';
  return {
    color: { mode: lines ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds },
    mappings: [],
    thresholds: {
      mode: ThresholdsMode.Absolute,
      steps: [
        { value: -Infinity, color: 'green' },
        { value: 80, color: 'red' },
      ],
    },
    custom: lines ? LINE : {},
  };
}

/** The options of each panel type that is drawn. */
export const OPTIONS = {
  timeseries: { legend: { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] } },
  stat: {
    colorMode: 'value',
    graphMode: 'area',
    justifyMode: 'auto',
    textMode: 'auto',
    orientation: 'auto',
    wideLayout: true,
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  },
  bargauge: {
    displayMode: 'gradient',
    orientation: 'auto',
    valueMode: 'color',
    namePlacement: 'auto',
    showUnfilled: true,
    minVizWidth: 8,
    minVizHeight: 16,
    maxVizHeight: 300,
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  },
  table: { showHeader: true, cellHeight: 'sm' },
  heatmap: { color: { scheme: 'Oranges', steps: 64 }, yAxis: {}, cellGap: 1, legend: { show: true } },
  text: { mode: 'markdown', content: '' },
} as const;
