import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLog } from '../../src/util/log.ts';

describe('createLog', () => {
  it('writes one JSON line, and leaves out what is called a token', () => {
    let text = '';
    const log = createLog('agent', 'info', { write: (line) => (text += line) });
    log.info({ token: 'secret', message: { token: 'secret' }, node: 'host1' }, 'hello');
    log.debug('not at this level');
    const { name, time, msg, node } = JSON.parse(text);
    assert.deepEqual([name, msg, node], ['ktrace-agent', 'hello', 'host1']);
    assert.ok(!Number.isNaN(Date.parse(time)));
    assert.doesNotMatch(text, /secret/);
  });
});
