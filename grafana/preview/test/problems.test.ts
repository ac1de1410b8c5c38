import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDataFrame, type DataFrame, FieldType } from '@grafana/data';
import type { Panel } from '../src/dashboard';
import { isEmpty, refused } from '../src/page/problems';

const TARGET = { refId: 'A', expr: 'x' };

function panel(more: Partial<Panel>): Panel {
  return { id: 1, type: 'timeseries', gridPos: { x: 0, y: 0, w: 1, h: 1 }, targets: [TARGET], ...more };
}

function frame(values: number[]): DataFrame {
  return createDataFrame({ fields: [{ name: 'Value', type: FieldType.number, values }] });
}

test('a panel without a number is empty, also where all are NaN', () => {
  assert.equal(isEmpty(panel({}), []), true);
  assert.equal(isEmpty(panel({}), [frame([NaN, NaN])]), true);
  assert.equal(isEmpty(panel({}), [frame([NaN, 0])]), false);
});

test('a table is empty without rows', () => {
  assert.equal(isEmpty(panel({ type: 'table' }), [frame([])]), true);
  assert.equal(isEmpty(panel({ type: 'table' }), [frame([NaN])]), false);
});

test('a panel that asks nothing, or says what to show then, is never empty', () => {
  assert.equal(isEmpty(panel({ targets: undefined }), []), false);
  assert.equal(isEmpty(panel({ fieldConfig: { defaults: { noValue: 'none' }, overrides: [] } }), []), false);
});

test('what Prometheus refused is named by its query', () => {
  assert.deepEqual(refused([{ target: TARGET, series: [], step: 0, error: 'parse error' }]), ['query A: parse error']);
});
