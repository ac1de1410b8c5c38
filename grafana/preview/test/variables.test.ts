import assert from 'node:assert/strict';
import { test } from 'node:test';
import { builtIn, filled, fillQuery, fillText, matching } from '../src/variables';

const ALL = { includeAll: true, multi: true, current: { value: ['$__all'] } };

test('all values become one regular expression, and read as All', () => {
  const service = filled({ name: 'service', type: 'query', ...ALL }, ['chat', 'embed']);
  assert.equal(fillQuery('up{service=~"$service"}', [service]), 'up{service=~"(chat|embed)"}');
  assert.equal(fillText('Replicas of $service', [service]), 'Replicas of All');
});

test('a chosen value goes before the one in the JSON, and is escaped for the quoted string that it stands in', () => {
  const host = filled({ name: 'host', type: 'query', ...ALL }, ['a', 'gpu.1'], ['gpu.1']);
  assert.equal(fillQuery('up{host=~"${host}"}', [host]), 'up{host=~"gpu\\\\.1"}');
});

test('a value that is no longer there gives way to what is', () => {
  const stale = { value: 'gone' };
  assert.equal(filled({ name: 'host', type: 'query', current: stale }, ['a', 'b']).text, 'a');
  assert.equal(filled({ name: 'host', type: 'query', current: stale, includeAll: true }, ['a', 'b']).text, 'All');
});

test('a variable that may have one value is not a regular expression', () => {
  const unit = filled({ name: 'unit', type: 'query' }, ['vllm-chat.service']);
  assert.equal(fillQuery('up{unit="$unit"}', [unit]), 'up{unit="vllm-chat.service"}');
});

test('the value for all is taken as it is written', () => {
  const host = filled({ name: 'host', type: 'query', ...ALL, allValue: '.*' }, ['a']);
  assert.equal(fillQuery('up{host=~"$host"}', [host]), 'up{host=~".*"}');
});

test('formats', () => {
  const host = filled({ name: 'host', type: 'query', ...ALL }, ['a', 'b']);
  assert.equal(fillQuery('${host:pipe} [[host:csv]] ${host:regex}', [host]), 'a|b a,b (a|b)');
  assert.throws(() => fillQuery('${host:json}', [host]), /variable format ":json"/);
});

test('the longest name is meant, and unknown names stay', () => {
  const variables = [builtIn('__range', '3600s'), builtIn('__range_s', '3600')];
  assert.equal(fillQuery('$__range $__range_s $other', variables), '3600s 3600 $other');
});

test('a regular expression of the variable picks from its options', () => {
  assert.deepEqual(matching(['vllm-chat.service', 'ssh.service'], '/vllm-(.+)\\.service/'), ['chat']);
  assert.deepEqual(matching(['a', 'b'], ''), ['a', 'b']);
});
