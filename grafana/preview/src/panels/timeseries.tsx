import type { VizLegendOptions } from '@grafana/schema';
import { TimeSeries } from '@grafana/ui';
import { OPTIONS } from '../grafana/defaults';
import type { PanelProps } from './props';

export function TimeSeriesPanel({ panel, frames, range, width, height }: PanelProps) {
  const legend = { ...OPTIONS.timeseries.legend, ...(panel.options?.legend as object) } as unknown as VizLegendOptions;
  return (
    <TimeSeries
      frames={frames}
      width={width}
      height={height}
      timeRange={range}
      timeZone="utc"
      legend={legend}
      options={panel.options}
    />
  );
}
