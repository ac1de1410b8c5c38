/** Time range and step of queries, as Grafana's Prometheus data source chooses them. */

import { dateMath, dateTime, makeTimeRange, rangeUtil } from '@grafana/data';
import { builtIn, type Filled } from './variables';

/** Grafana's default for a data source's scrape interval. */
const SCRAPE_INTERVAL = '15s';

/** In milliseconds since the epoch, and in words. */
export interface Range {
  from: number;
  to: number;
  text: string;
}

/** A dashboard's time range (`now-1h` to `now`) at the time `now`, in milliseconds.
 *
 * Throws an Error for a time that Grafana does not read either.
 */
export function timeRange(time: { from: string; to: string }, now: number): Range {
  const [from, to] = [time.from, time.to].map((text) => dateMath.toDateTime(text, { now: new Date(now) })?.valueOf());
  if (from === undefined || to === undefined) {
    throw new Error(`time: "${time.from}" to "${time.to}" is no range; write it like "now-1h" to "now"`);
  }
  return { from, to, text: rangeUtil.describeTimeRange(time) };
}

/** The step of a range query, in milliseconds: a point a pixel at most, a round figure, and never under the least. */
export function stepMs(range: Range, points: number, least?: string): number {
  const between = makeTimeRange(dateTime(range.from), dateTime(range.to));
  return rangeUtil.calculateInterval(between, points, least || SCRAPE_INTERVAL).intervalMs;
}

/** `$__interval`, `$__rate_interval`, `$__range` and their kin. */
export function builtIns(range: Range, step: number): Filled[] {
  const scrape = rangeUtil.intervalToMs(SCRAPE_INTERVAL);
  const seconds = Math.round((range.to - range.from) / 1000);
  return [
    builtIn('__interval', `${step / 1000}s`),
    builtIn('__interval_ms', `${step}`),
    builtIn('__rate_interval', `${Math.max(step + scrape, 4 * scrape) / 1000}s`),
    builtIn('__range', `${seconds}s`),
    builtIn('__range_s', `${seconds}`),
    builtIn('__range_ms', `${seconds * 1000}`),
  ];
}
