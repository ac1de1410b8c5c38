import { cacheFieldDisplayNames } from '@grafana/data';
import type { TableCellHeight } from '@grafana/schema';
import { TableNG } from '@grafana/ui/unstable';
import type { ComponentProps } from 'react';
import { OPTIONS } from '../grafana/defaults';
import type { PanelProps } from './props';

interface TableOptions {
  showHeader: boolean;
  cellHeight: TableCellHeight;
  sortBy?: ComponentProps<typeof TableNG>['sortBy'];
}

export function TablePanel({ panel, frames, range, width, height }: PanelProps) {
  if (frames.length > 1) {
    throw new Error(`${frames.length} tables in one panel; put a merge transformation`);
  }
  // the headers are read from there
  cacheFieldDisplayNames(frames);
  const options = { ...OPTIONS.table, ...panel.options } as unknown as TableOptions;
  return (
    <TableNG
      data={frames[0]}
      width={width}
      height={height}
      noHeader={!options.showHeader}
      cellHeight={options.cellHeight}
      sortBy={options.sortBy}
      fieldConfig={panel.fieldConfig}
      noValue={panel.fieldConfig?.defaults.noValue}
      timeRange={range}
      // all rows are drawn, for nobody scrolls in a picture
      enableVirtualization={false}
    />
  );
}
