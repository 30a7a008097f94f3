import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { runKtrace } from '../../../support/ktrace-process.ts';
import { SKIP } from '../../support/lab-fixture.ts';

/** What `deploy/overlays/least-privilege` leaves to the agent. */
const NEEDED = ['bpf', 'perfmon', 'net_admin'];

suite('the capabilities of the agent', { skip: SKIP }, () => {
  /** How an agent ends that has these capabilities and, once it has loaded its programs, no kubeconfig to go on with. */
  async function start(capabilities: readonly string[]): Promise<string> {
    const directory = mkdtempSync(join(tmpdir(), 'ktrace-capabilities-'));
    try {
      const bounding = ['-all', ...capabilities.map((name) => `+${name}`)].join(',');
      const { code, stderr } = await runKtrace(
        ['agent', '--node', 'host1', '--socket', join(directory, 'agent.sock'), '--kubeconfig', join(directory, 'none')],
        { before: ['unshare', '--net', 'setpriv', '--bounding-set', bounding, '--inh-caps=-all'] },
      );
      assert.equal(code, 1, stderr);
      return stderr;
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  test('are enough to load its programs', async () => {
    assert.match(await start(NEEDED), /KTRACE_E_KUBECONFIG/);
  });

  for (const missing of NEEDED) {
    test(`are too few without ${missing.toUpperCase()}`, async () => {
      assert.match(await start(NEEDED.filter((name) => name !== missing)), /KTRACE_E_(NOT_ROOT|LOAD)/);
    });
  }
});
