import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runKtrace } from '../../../support/ktrace-process.ts';
import { SKIP } from '../../support/lab-fixture.ts';

/** Sends SIGTERM when the command line is about to be loaded: later than Node itself has started, and before anything can be taken down. */
const ENDED_WHILE_LOADING = `
  import { registerHooks } from 'node:module';
  registerHooks({
    load(url, context, next) {
      if (/\\/cli\\/main\\.[jt]s$/.test(url)) process.kill(process.pid, 'SIGTERM');
      return next(url, context);
    },
  });
`;

test('the first process of a container that is ended while it starts ends', { skip: SKIP }, async () => {
  const { code, stderr } = await runKtrace(['gate', '--socket', '/nonexistent', '--port', '0', '--metrics-port', '0'], {
    before: ['unshare', '--pid', '--fork', '--kill-child'],
    env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(ENDED_WHILE_LOADING)}` },
  });
  assert.ok(code === 0 || code === 128 + 15, `ended with ${code}; ${stderr}`);
});
