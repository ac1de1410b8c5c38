/** What is read of a dashboard's JSON (schemaVersion 41). */

import type { DataTransformerConfig, FieldConfigSource } from '@grafana/data';

export interface Dashboard {
  title: string;
  time: { from: string; to: string };
  panels: Panel[];
  templating?: { list: Variable[] };
  links?: Link[];
}

/** In cells of the grid: 24 columns, as many rows as it takes. */
export interface GridPos {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Panel {
  id: number;
  type: string;
  title?: string;
  description?: string;
  transparent?: boolean;
  gridPos: GridPos;
  targets?: Target[];
  /** The least step of its queries, such as `1m`. */
  interval?: string;
  maxDataPoints?: number;
  fieldConfig?: FieldConfigSource;
  options?: Record<string, unknown>;
  transformations?: DataTransformerConfig[];
  /** A row's panels, while it is collapsed. */
  panels?: Panel[];
  collapsed?: boolean;
  /** The variable that it is drawn once for each value of. */
  repeat?: string;
}

export interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  range?: boolean;
  hide?: boolean;
  /** The least step of this query. */
  interval?: string;
}

export interface Variable {
  name: string;
  type: string;
  label?: string | null;
  query?: string | { query: string };
  regex?: string;
  current?: { value?: string | string[] };
  includeAll?: boolean;
  allValue?: string | null;
  multi?: boolean;
  /** 0 shows it, 1 hides its label, 2 all of it. */
  hide?: number;
}

export interface Link {
  title: string;
}
