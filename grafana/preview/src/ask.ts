/** All that a dashboard asks of Prometheus. */

import type { Dashboard, Panel, Target, Variable } from './dashboard';
import { box } from './layout';
import type { Prometheus, Series } from './prometheus';
import { builtIns, type Range, stepMs } from './timing';
import { type Filled, filled, fillQuery, matching } from './variables';

/** What Prometheus said to one query of a panel. */
export interface Answer {
  target: Target;
  series: Series[];
  /** Milliseconds; 0 for an instant query. */
  step: number;
  error?: string;
}

/** The panels that are seen, which those of a collapsed row are not. */
export function queried(dashboard: Dashboard): Panel[] {
  return dashboard.panels.filter(({ targets }) => targets !== undefined && targets.length > 0);
}

/** Every variable with its value; a later one may use an earlier one. `chosen` goes before the JSON's values. */
export async function askVariables(
  dashboard: Dashboard,
  prometheus: Prometheus,
  range: Range,
  chosen: Map<string, string[]>,
): Promise<Filled[]> {
  const variables: Filled[] = [];
  for (const variable of dashboard.templating?.list ?? []) {
    const options = await optionsOf(variable, variables, prometheus, range);
    variables.push(filled(variable, options, chosen.get(variable.name)));
  }
  return variables;
}

async function optionsOf(
  variable: Variable,
  before: Filled[],
  prometheus: Prometheus,
  range: Range,
): Promise<string[]> {
  const query = typeof variable.query === 'object' ? variable.query.query : (variable.query ?? '');
  switch (variable.type) {
    case 'datasource':
      return ['Prometheus'];
    case 'constant':
    case 'textbox':
      return [query];
    case 'custom':
    case 'interval':
      return query.split(',').map((option) => option.trim());
    case 'query': {
      const [, selector, label] = /^label_values\((?:(.+),)?\s*(\w+)\s*\)$/.exec(query.trim()) ?? [];
      if (!label) {
        throw new Error(`variable ${variable.name}: "${query}" is not drawn; use label_values(metric, label)`);
      }
      const filledIn = selector && fillQuery(selector, before);
      const found = await prometheus.labelValues(label, filledIn, range.from, range.to);
      return matching(found, variable.regex);
    }
    default:
      throw new Error(`variable ${variable.name}: type "${variable.type}" is not drawn`);
  }
}

/** A panel's queries, answered; one that fails says so in its answer. `width` is the dashboard's, in pixels. */
export async function askPanel(
  panel: Panel,
  prometheus: Prometheus,
  range: Range,
  variables: Filled[],
  width: number,
): Promise<Answer[]> {
  const shown = (panel.targets ?? []).filter(({ hide }) => hide !== true);
  return Promise.all(
    shown.map(async (target) => {
      const points = panel.maxDataPoints ?? box(panel.gridPos, width).width;
      const step = stepMs(range, points, target.interval || panel.interval);
      const instant = target.instant === true && target.range !== true;
      try {
        const query = fillQuery(target.expr, [...builtIns(range, step), ...variables]);
        const series = instant
          ? await prometheus.instant(query, range.to)
          : await prometheus.range(query, range.from, range.to, step);
        return { target, series, step: instant ? 0 : step };
      } catch (error) {
        return { target, series: [], step: 0, error: (error as Error).message };
      }
    }),
  );
}
