/** What the page draws: a dashboard with everything that was asked for it. */

import type { Answer } from './ask';
import type { Dashboard } from './dashboard';
import type { Range } from './timing';
import type { Filled } from './variables';

export interface Picture {
  dashboard: Dashboard;
  range: Range;
  variables: Filled[];
  /** By the panel's id. */
  answers: Record<number, Answer[]>;
}
