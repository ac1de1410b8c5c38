import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const FOLDER = join(__dirname, '..');

test('versions are pinned exactly', () => {
  const { dependencies } = JSON.parse(readFileSync(join(FOLDER, 'package.json'), 'utf8'));
  for (const [name, version] of Object.entries<string>(dependencies)) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
});

test('the lock file names no place to download from, so each machine uses its own registry', () => {
  assert.doesNotMatch(readFileSync(join(FOLDER, 'package-lock.json'), 'utf8'), /"resolved"|\.tgz/);
});
