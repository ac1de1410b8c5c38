/** What is wrong with a panel before it is drawn. Pure. */

import { type DataFrame, FieldType } from '@grafana/data';
import type { Answer } from '../ask';
import type { Panel } from '../dashboard';

/** The queries of a panel that Prometheus refused. */
export function refused(answers: Answer[]): string[] {
  return answers.flatMap(({ target, error }) => (error === undefined ? [] : [`query ${target.refId}: ${error}`]));
}

/** Whether there is nothing to see: no row of a table, no number of another panel. One that says what to show then
 * (`noValue`) is never empty. */
export function isEmpty(panel: Panel, frames: DataFrame[]): boolean {
  if (!panel.targets || panel.fieldConfig?.defaults.noValue !== undefined) {
    return false;
  }
  if (panel.type === 'table') {
    return frames.every(({ length }) => length === 0);
  }
  return !frames.some(({ fields }) =>
    fields.some(({ type, values }) => type === FieldType.number && values.some(Number.isFinite)),
  );
}
