import { type DataFrame, FieldType } from '@grafana/data';
import type { VizLegendOptions } from '@grafana/schema';
import { TimeSeries } from '@grafana/ui';
import { useMemo } from 'react';
import { OPTIONS } from '../grafana/defaults';
import type { PanelProps } from './props';

export function TimeSeriesPanel({ panel, frames, range, width, height }: PanelProps) {
  const legend = { ...OPTIONS.timeseries.legend, ...(panel.options?.legend as object) } as unknown as VizLegendOptions;
  return (
    <TimeSeries
      frames={useMemo(() => frames.map(withGaps), [frames])}
      width={width}
      height={height}
      timeRange={range}
      timeZone="utc"
      legend={legend}
      options={panel.options}
    />
  );
}

/** What is not finite is not drawn, as Grafana's own panel has it; uPlot would find no scale. */
function withGaps(frame: DataFrame): DataFrame {
  const fields = frame.fields.map((field) =>
    field.type === FieldType.number
      ? { ...field, values: field.values.map((value) => (Number.isFinite(value) ? value : null)) }
      : field,
  );
  return { ...frame, fields };
}
