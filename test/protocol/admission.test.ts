import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { refuseRequest, refuseUpgrade, rejectionResponse } from '../../src/protocol/admission.ts';

const good = {
  method: 'GET',
  url: '/v1/stream',
  headers: { upgrade: 'WebSocket', 'sec-websocket-protocol': 'future.v2, ktrace.v1' },
};

describe('refuseUpgrade', () => {
  it('lets a websocket of ours in', () => {
    assert.equal(refuseUpgrade(good), undefined);
  });

  const cases = [
    ['an Origin, even an empty one', { ...good, headers: { ...good.headers, origin: '' } }, 403],
    ['another path', { ...good, url: '/v1/stream?x' }, 404],
    ['another method', { ...good, method: 'POST' }, 405],
    ['another protocol to upgrade to', { ...good, headers: { ...good.headers, upgrade: 'h2c' } }, 426],
    ['no subprotocol', { ...good, headers: { upgrade: 'websocket' } }, 400],
    [
      'a subprotocol that only begins like ours',
      { ...good, headers: { ...good.headers, 'sec-websocket-protocol': 'ktrace.v10' } },
      400,
    ],
  ] as const;
  for (const [what, head, status] of cases) {
    it(`refuses ${what} with ${status}`, () => {
      assert.equal(refuseUpgrade(head)?.status, status);
    });
  }
});

describe('rejectionResponse', () => {
  it('is a whole HTTP answer with a JSON body', () => {
    const rejection = refuseRequest({ method: 'GET', url: '/\r\nX: y', headers: {} }, ['/healthz']);
    assert.ok(rejection);
    const [head, body] = rejectionResponse(rejection).split('\r\n\r\n');
    assert.match(
      head ?? '',
      /^HTTP\/1\.1 404 Not Found\r\nContent-Type: application\/json\r\nContent-Length: \d+\r\nConnection: close$/,
    );
    assert.equal(JSON.parse(body ?? '').code, 'KTRACE_E_HTTP');
  });
});
