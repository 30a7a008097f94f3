import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from '@commander-js/extra-typings';
import { addClusterOptions, clusterOptions } from '../../src/cli/options/cluster-options.ts';

function optionsOf(...argv: string[]) {
  const command = addClusterOptions(new Command());
  command.parse(argv, { from: 'user' });
  return clusterOptions(command.opts());
}

test('flags of the cluster and the user are those of kubectl', () => {
  const { as, asGroups, cluster, user, insecureSkipTlsVerify } = optionsOf(
    ...['--as', 'jane', '--as-group', 'dev', '--as-group', 'ops', '--cluster', 'c', '--user', 'u', '--insecure-skip-tls-verify'],
  );
  assert.deepEqual(
    { as, asGroups, cluster, user, insecureSkipTlsVerify },
    {
      as: 'jane',
      asGroups: ['dev', 'ops'],
      cluster: 'c',
      user: 'u',
      insecureSkipTlsVerify: true,
    },
  );
  for (const [text, ms] of [
    ['0', 0],
    ['0s', 0],
    ['5', 5000],
    ['5s', 5000],
    ['1m', 60_000],
  ] as const)
    assert.equal(optionsOf('--request-timeout', text).requestTimeoutMs, ms);
  assert.equal(optionsOf().requestTimeoutMs, undefined);
});

test('groups without a user, and what is no time, are usage errors', () => {
  assert.throws(() => optionsOf('--as-group', 'dev'), { exitCode: 2, message: /^Expected --as beside --as-group/ });
  for (const text of ['', 'soon', '-1', '5 s'])
    assert.throws(() => optionsOf(`--request-timeout=${text}`), {
      exitCode: 2,
      message: /5, 5s or 1m, or 0 for --request-timeout/,
    });
});
