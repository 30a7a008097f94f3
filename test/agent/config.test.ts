import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseAgentConfig } from '../../src/agent/config.ts';
import { KtraceError } from '../../src/util/errors.ts';

const refused = (flags: Record<string, string | number>, env: Record<string, string> = {}): string => {
  try {
    parseAgentConfig({ node: 'host1', ...flags }, env);
  } catch (error) {
    assert.ok(error instanceof KtraceError && error.code === 'KTRACE_E_ARGUMENT' && error.exitCode === 2, String(error));
    return error.message;
  }
  throw new Error('it was taken');
};

describe('parseAgentConfig', () => {
  it('has defaults for everything but the name of a node that the host does not tell', () => {
    assert.deepEqual(parseAgentConfig({ node: 'host1' }, {}), {
      node: 'host1',
      socket: '/run/ktrace/agent.sock',
      kubeconfig: undefined,
      serviceAccount: undefined,
      logLevel: 'info',
      ringBytes: 8388608,
      podRate: 2000,
      flowEntries: 65536,
      attach: 'auto',
      unloadAfterMs: 600_000,
      probes: 'auto',
      rcuExpedited: 'auto',
      proxyMode: 'auto',
      object: undefined,
      maxClients: 32,
      authorization: 'on',
      withParent: false,
      record: undefined,
      export: undefined,
      clockSkewMs: 0,
      recheckMs: undefined,
      queueEvents: undefined,
    });
  });

  it('takes variables, and flags before them; an empty variable is none', () => {
    const env = { KTRACE_NODE: 'host2', KTRACE_LOG_LEVEL: 'debug', KTRACE_RING_BYTES: '65536', KTRACE_SOCKET: '' };
    const config = parseAgentConfig({ logLevel: 'warn', maxClients: 5, object: undefined }, env);
    assert.equal(config.node, 'host2');
    assert.equal(config.logLevel, 'warn');
    assert.equal(config.ringBytes, 65536);
    assert.equal(config.maxClients, 5);
    assert.equal(config.socket, '/run/ktrace/agent.sock');
  });

  it('records a day within 512 MiB, where it is given a folder', () => {
    const { record } = parseAgentConfig({ node: 'host1', record: '/var/lib/ktrace' }, {});
    assert.deepEqual(record, { directory: '/var/lib/ktrace', budgetBytes: 536_870_912, ageMs: 86_400_000 });
    const env = { KTRACE_RECORD: '/r', KTRACE_RECORD_BYTES: '16777216', KTRACE_RECORD_HOURS: '1' };
    assert.deepEqual(parseAgentConfig({ node: 'host1' }, env).record, {
      directory: '/r',
      budgetBytes: 16_777_216,
      ageMs: 3_600_000,
    });
  });

  const cases: [flags: Record<string, string | number>, env: Record<string, string>, message: string][] = [
    [{ attach: 'xdp' }, {}, 'Expected one of auto, tcx, clsact for --attach, got "xdp"'],
    [
      {},
      { KTRACE_PROXY_MODE: 'userspace' },
      'Expected one of auto, iptables, nftables, ipvs, none for KTRACE_PROXY_MODE, got "userspace"',
    ],
    [{ record: 'here' }, {}, 'Expected an absolute path for --record (or KTRACE_RECORD), got "here"'],
    [
      { record: '/r', recordBytes: 16_777_215 },
      {},
      'Expected a whole number from 16777216 to 9007199254740991 for --record-bytes, got "16777215"',
    ],
    [
      {},
      { KTRACE_RECORD: '/r', KTRACE_RECORD_HOURS: '0' },
      'Expected a whole number from 1 to 8784 for KTRACE_RECORD_HOURS, got "0"',
    ],
    [{}, { KTRACE_MAX_CLIENTS: 'many' }, 'Expected a whole number from 1 to 1024 for KTRACE_MAX_CLIENTS, got "many"'],
    [{}, { KTRACE_FLOW_ENTRIES: '12' }, 'Expected a whole number from 1024 to 1048576 for KTRACE_FLOW_ENTRIES, got "12"'],
    [{ ringBytes: 5000 }, {}, 'Expected a power of two for --ring-bytes (or KTRACE_RING_BYTES), got 5000'],
    [{ ringBytes: '1e6' }, {}, 'Expected a whole number from 4096 to 1073741824 for --ring-bytes, got "1e6"'],
    [{ node: 'Host_1' }, {}, 'Expected a Kubernetes node\'s name for --node (or KTRACE_NODE), got "Host_1"'],
    [{ socket: 'agent.sock' }, {}, 'Expected an absolute path for --socket (or KTRACE_SOCKET), got "agent.sock"'],
    [{ object: '' }, {}, 'Expected a value for --object, got ""'],
  ];
  for (const [flags, env, message] of cases) {
    it(`says ${message}`, () => {
      assert.equal(refused(flags, env), message);
    });
  }

  it('refuses a socket path that the kernel would cut', () => {
    assert.match(refused({ socket: `/run/${'a'.repeat(110)}` }), /at most 107 bytes/);
  });
});
