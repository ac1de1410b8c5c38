import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FieldType } from '@grafana/data';
import type { Answer } from '../src/ask';
import type { Target } from '../src/dashboard';
import { frames } from '../src/frames';
import type { Series } from '../src/prometheus';

function answer(target: Partial<Target>, series: Series[], step = 15_000): Answer {
  return { target: { refId: 'A', expr: 'x', ...target }, series, step };
}

test('a frame a series, named by its legend, in milliseconds, with the step that tells gaps', () => {
  const series: Series[] = [{ metric: { __name__: 'up', host: 'gpu-1' }, values: [[10, '1'], [25, 'NaN']] }];
  const [frame] = frames([answer({ legendFormat: 'on {{host}}' }, series)]);
  const [time, value] = frame.fields;
  assert.deepEqual(time.values, [10_000, 25_000]);
  assert.equal(time.config.interval, 15_000);
  assert.deepEqual(value.values, [1, NaN]);
  assert.deepEqual(value.labels, { host: 'gpu-1' });
  assert.equal(value.config.displayNameFromDS, 'on gpu-1');
});

test('a series without a legend is named by its selector, one with __auto by Grafana', () => {
  const series: Series[] = [{ metric: { __name__: 'up', host: 'a' }, values: [[1, '1']] }];
  assert.equal(frames([answer({}, series)])[0].fields[1].config.displayNameFromDS, 'up{host="a"}');
  assert.equal(frames([answer({ legendFormat: '__auto' }, series)])[0].fields[1].config.displayNameFromDS, undefined);
});

test('tables: a column a label, empty where a series lacks it, and values told apart by refId', () => {
  const one: Series[] = [
    { metric: { host: 'a', gpu: '0' }, values: [[1, '5']] },
    { metric: { host: 'b' }, values: [[1, '+Inf']] },
  ];
  const [frame, second] = frames([answer({ format: 'table' }, one), answer({ refId: 'B', format: 'table' }, one)]);
  assert.deepEqual(
    frame.fields.map(({ name, type }) => [name, type]),
    [
      ['Time', FieldType.time],
      ['gpu', FieldType.string],
      ['host', FieldType.string],
      ['Value #A', FieldType.number],
    ],
  );
  assert.deepEqual(frame.fields[1].values, ['0', '']);
  assert.deepEqual(frame.fields[3].values, [5, Infinity]);
  assert.equal(second.fields[3].name, 'Value #B');
  assert.equal(frames([answer({ format: 'table' }, one)])[0].fields[3].name, 'Value');
});

test('a heatmap: buckets by their edge as a number, each without those below, a gap where a count is missing', () => {
  const buckets: Series[] = [
    { metric: { le: '+Inf' }, values: [[1, '9'], [2, '9']] },
    { metric: { le: '10' }, values: [[1, '7'], [2, '7']] },
    { metric: { le: '2.5' }, values: [[1, '4']] },
  ];
  const [{ fields }] = frames([answer({ format: 'heatmap' }, buckets)]);
  assert.deepEqual(
    fields.map(({ name }) => name),
    ['Time', '2.5', '10', '+Inf'],
  );
  assert.deepEqual(
    fields.slice(1).map(({ values }) => values),
    [
      [4, null],
      [3, 7],
      [2, 2],
    ],
  );
});

test('a query without an answer makes no frame', () => {
  assert.deepEqual(frames([answer({}, []), answer({ format: 'table' }, [])]), []);
});
