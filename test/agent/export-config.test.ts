import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAgentConfig } from '../../src/agent/config.ts';
import { KtraceError } from '../../src/util/errors.ts';

const ON = { KTRACE_OTLP_ENDPOINT: 'http://c:4318' };
const read = (env: Record<string, string>) => parseAgentConfig({ node: 'host1' }, env).export;

test('is off unless an endpoint is set', () => {
  assert.equal(read({ KTRACE_EXPORT_TARGET: 'ns/shop' }), undefined);
});

test('exports the pods of the node, flows and drops, when nothing else is said', () => {
  const config = read(ON);
  assert.deepEqual(config?.targets, [{ kind: 'all' }]);
  assert.deepEqual([...(config?.events ?? [])], ['flow-update', 'flow-close', 'drop', 'lost', 'notice']);
});

const TARGETS: [text: string, targets: unknown[]][] = [
  ['ns/shop', [{ kind: 'namespace', name: 'shop' }]],
  [
    'node/host1 ns/shop',
    [
      { kind: 'node', name: 'host1' },
      { kind: 'namespace', name: 'shop' },
    ],
  ],
  ['-n shop', [{ kind: 'namespace', name: 'shop' }]],
  ['deploy/web svc/web -n shop', ['deployment', 'service'].map((kind) => ({ kind, namespace: 'shop', name: 'web' }))],
  ['-l app=web', [{ kind: 'selector', selector: 'app=web' }]],
  ['-l app=web -n shop -n test', ['shop', 'test'].map((namespace) => ({ kind: 'selector', namespace, selector: 'app=web' }))],
];
for (const [text, targets] of TARGETS) {
  test(`reads ${text}`, () => {
    assert.deepEqual(read({ ...ON, KTRACE_EXPORT_TARGET: text })?.targets, targets);
  });
}

const REFUSED: [env: Record<string, string>, message: RegExp][] = [
  [{ KTRACE_EXPORT_TARGET: 'pod/web' }, /^Expected a namespace by -n for these names for .*KTRACE_EXPORT_TARGET/],
  [{ KTRACE_EXPORT_TARGET: 'ns/shop tcp port 80' }, /^Expected targets as KIND\/NAME .*got "tcp port 80"$/],
  [{ KTRACE_EXPORT_TARGET: 'rc/web -n shop' }, /^Unknown kind "rc" .*KTRACE_EXPORT_TARGET/],
  [{ KTRACE_EXPORT_TARGET: 'ns/shop -n' }, /^Expected a value after -l and -n/],
  [{ KTRACE_EXPORT_EVENTS: 'flow,drop' }, /^Expected some of flow-open, flow-update, .* got "flow,drop"$/],
];
for (const [env, message] of REFUSED) {
  test(`refuses ${JSON.stringify(env)}`, () => {
    assert.throws(
      () => read({ ...ON, ...env }),
      (error) => error instanceof KtraceError && error.exitCode === 2 && message.test(error.message),
    );
  });
}

test('takes the events that are named', () => {
  const config = read({ ...ON, KTRACE_EXPORT_EVENTS: 'drop, flow-open' });
  assert.deepEqual([...(config?.events ?? [])], ['drop', 'flow-open']);
});
