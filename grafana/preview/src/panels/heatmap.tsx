import {
  type DataFrame,
  formattedValueToString,
  getValueFormat,
  type GrafanaTheme2,
  type TimeRange,
} from '@grafana/data';
import { AxisPlacement, GraphDrawStyle, ScaleDirection, ScaleDistribution, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import * as schemes from 'd3-scale-chromatic';
import type uPlot from 'uplot';
import { OPTIONS } from '../grafana/defaults';
import { type Color, HeatmapLegend } from './heatmap-legend';
import type { PanelProps } from './props';

interface HeatmapOptions {
  calculate?: boolean;
  cellGap: number;
  color: { scheme: string; steps: number; reverse?: boolean };
  filterValues?: { le?: number };
  legend: { show: boolean };
  yAxis: { unit?: string; decimals?: number };
}

/** A histogram over time, from one frame with a column a bucket. */
interface Cells {
  times: number[];
  /** The upper edges, from below. */
  edges: string[];
  /** By bucket, then by time; null is not drawn. */
  counts: Array<Array<number | null>>;
  max: number;
}

/** Pixels. */
const LEGEND_HEIGHT = 40;

export function HeatmapPanel({ panel, frames, range, width, height }: PanelProps) {
  const options = { ...OPTIONS.heatmap, ...panel.options } as HeatmapOptions;
  if (options.calculate || frames.length !== 1) {
    throw new Error('a heatmap is drawn of one query with the format heatmap');
  }
  const theme = useTheme2();
  const cells = cellsOf(frames[0], options.filterValues?.le ?? 0);
  const color = colorScale(options.color, theme);
  const legendHeight = options.legend.show ? LEGEND_HEIGHT : 0;
  return (
    <>
      <UPlotChart
        config={plot(cells, color, options, range, theme)}
        // one series that is not drawn itself: it only gives the axes their range
        data={[cells.times, cells.times.map(() => 0)]}
        width={width}
        height={height - legendHeight}
      />
      {options.legend.show && <HeatmapLegend max={cells.max} color={color} height={LEGEND_HEIGHT} />}
    </>
  );
}

function cellsOf(frame: DataFrame, least: number): Cells {
  const [time, ...buckets] = frame.fields;
  const seen = (count: number | null) => (count !== null && count > least ? count : null);
  const counts = buckets.map(({ values }) => values.map(seen));
  return {
    times: time.values,
    edges: buckets.map(({ name }) => name),
    counts,
    max: Math.max(0, ...counts.flat().map((count) => count ?? 0)),
  };
}

/** The color of a share of the highest count; in Grafana's dark theme the sequential schemes begin dark, too. */
function colorScale({ scheme, steps, reverse = false }: HeatmapOptions['color'], theme: GrafanaTheme2): Color {
  const interpolate = (schemes as Record<string, unknown>)[`interpolate${scheme}`];
  if (typeof interpolate !== 'function') {
    throw new Error(`color scheme "${scheme}" is not known`);
  }
  return (share) => {
    const step = Math.round(share * (steps - 1)) / (steps - 1);
    return interpolate(theme.isDark !== reverse ? 1 - step : step);
  };
}

function plot(
  cells: Cells,
  color: Color,
  { yAxis, cellGap }: HeatmapOptions,
  range: TimeRange,
  theme: GrafanaTheme2,
): UPlotConfigBuilder {
  const builder = new UPlotConfigBuilder('utc');
  builder.addScale({
    scaleKey: 'x',
    isTime: true,
    orientation: ScaleOrientation.Horizontal,
    direction: ScaleDirection.Right,
    range: () => [range.from.valueOf(), range.to.valueOf()],
  });
  builder.addScale({
    scaleKey: 'y',
    orientation: ScaleOrientation.Vertical,
    direction: ScaleDirection.Up,
    distribution: ScaleDistribution.Linear,
    range: () => [0, cells.edges.length],
  });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: 'utc', theme });
  const format = getValueFormat(yAxis.unit);
  const label = (edge: string) =>
    edge === '+Inf' ? edge : formattedValueToString(format(Number(edge), yAxis.decimals));
  builder.addAxis({
    scaleKey: 'y',
    placement: AxisPlacement.Left,
    theme,
    incrs: [1, 2, 3, 4, 5, 10],
    values: (_, splits) => splits.map((row) => (row >= 1 ? label(cells.edges[row - 1]) : '')),
  });
  builder.addSeries({ scaleKey: 'y', theme, drawStyle: GraphDrawStyle.Line, pathBuilder: () => null });
  builder.addHook('draw', (chart) => drawCells(chart, cells, color, cellGap));
  return builder;
}

function drawCells(chart: uPlot, { times, counts, max }: Cells, color: Color, gap: number): void {
  const step = Math.min(...times.slice(1).map((time, index) => time - times[index]));
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  counts.forEach((row, bucket) => {
    const top = Math.round(chart.valToPos(bucket + 1, 'y', true));
    const bottom = Math.round(chart.valToPos(bucket, 'y', true));
    row.forEach((count, index) => {
      if (count !== null) {
        const left = Math.round(chart.valToPos(times[index] - step, 'x', true));
        const right = Math.round(chart.valToPos(times[index], 'x', true));
        ctx.fillStyle = color(count / max);
        ctx.fillRect(left, top, Math.max(1, right - left - gap), Math.max(1, bottom - top - gap));
      }
    });
  });
  ctx.restore();
}
