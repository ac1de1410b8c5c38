import assert from 'node:assert/strict';
import { test } from 'node:test';
import { builtIns, stepMs, timeRange } from '../src/timing';
import { fillQuery } from '../src/variables';

const NOW = Date.parse('2026-01-02T03:04:05Z');
const HOUR = 3_600_000;

test('the range ends now, and reads as in Grafana', () => {
  assert.deepEqual(timeRange({ from: 'now-1h', to: 'now' }, NOW), { from: NOW - HOUR, to: NOW, text: 'Last 1 hour' });
  assert.throws(() => timeRange({ from: 'now-soon', to: 'now' }, NOW), /"now-soon" to "now" is no range/);
});

test('the step is a round figure, never under the least', () => {
  const hour = timeRange({ from: 'now-1h', to: 'now' }, NOW);
  const week = timeRange({ from: 'now-7d', to: 'now' }, NOW);
  assert.equal(stepMs(hour, 500), 15_000);
  assert.equal(stepMs(hour, 500, '1m'), 60_000);
  assert.equal(stepMs(week, 500), 20 * 60_000);
});

test('rates look back over four scrapes at least, and over more than a step', () => {
  const hour = timeRange({ from: 'now-1h', to: 'now' }, NOW);
  const look = (step: number) => fillQuery('$__interval $__rate_interval $__range', builtIns(hour, step));
  assert.equal(look(15_000), '15s 60s 3600s');
  assert.equal(look(300_000), '300s 315s 3600s');
});
