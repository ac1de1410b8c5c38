import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Panel } from '../src/dashboard';
import { box, gridHeight } from '../src/layout';

test('panels of one row fill the width with a gap between them', () => {
  const [left, right] = [0, 12].map((x) => box({ x, y: 1, w: 12, h: 8 }, 1600));
  assert.deepEqual(left, { left: 0, top: 38, width: 780, height: 296 });
  assert.equal(right.left - (left.left + left.width), 8);
  assert.equal(right.left + right.width, 1568);
});

test('the grid is as high as its lowest panel', () => {
  const panel = { id: 1, type: 'text', gridPos: { x: 0, y: 3, w: 24, h: 2 } } as Panel;
  assert.equal(gridHeight([panel]), 5 * 38);
  assert.equal(gridHeight([]), 0);
});
