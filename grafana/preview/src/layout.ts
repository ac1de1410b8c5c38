/** Where panels lie, in pixels. Cell and gap are Grafana's (its dashboard grid: 30 and 8 pixels). */

import type { GridPos, Panel } from './dashboard';

const COLUMNS = 24;
const CELL_HEIGHT = 30;
const GAP = 8;
/** Between the page's edge and what is on it. */
export const MARGIN = 16;

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** A panel's place in the grid of a page that is `pageWidth` pixels wide. */
export function box(position: GridPos, pageWidth: number): Box {
  const gridWidth = pageWidth - 2 * MARGIN;
  const column = (gridWidth - GAP * (COLUMNS - 1)) / COLUMNS;
  return {
    left: Math.round(position.x * (column + GAP)),
    top: position.y * (CELL_HEIGHT + GAP),
    width: Math.round(position.w * (column + GAP) - GAP),
    height: position.h * (CELL_HEIGHT + GAP) - GAP,
  };
}

/** The height that all panels take, in pixels. */
export function gridHeight(panels: Panel[]): number {
  const rows = Math.max(0, ...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return rows * (CELL_HEIGHT + GAP);
}
