import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseGateConfig } from '../../src/gate/config.ts';

describe('parseGateConfig', () => {
  it('has defaults', () => {
    assert.deepEqual(parseGateConfig({}, {}), {
      socket: '/run/ktrace/agent.sock',
      port: 7471,
      metricsPort: 7472,
      maxConnections: 128,
      logLevel: 'info',
    });
  });

  it('is not misled by the variables that Kubernetes sets for a Service named ktrace', () => {
    const env = { KTRACE_PORT: 'tcp://10.96.0.7:80', KTRACE_GATE_PORT: '8000' };
    assert.equal(parseGateConfig({}, env).port, 8000);
  });

  it('names the place of a bad value', () => {
    assert.throws(() => parseGateConfig({ port: 70000 }, {}), /a whole number from 0 to 65535 for --port, got "70000"/);
    assert.throws(() => parseGateConfig({}, { KTRACE_GATE_METRICS_PORT: 'x' }), /for KTRACE_GATE_METRICS_PORT, got "x"/);
  });
});
