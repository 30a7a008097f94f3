import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { openApi } from '../../../src/kube/api/api.ts';
import { openReviewer, type Reviewer } from '../../../src/kube/api/reviews.ts';
import { PATIENCE_MS } from '../../support/until.ts';

interface Asked {
  method: string | undefined;
  path: string | undefined;
  body: { apiVersion: string; kind: string; spec: Record<string, unknown> };
}

/** A reviewer of an API server that answers as a test says; undefined: not at all. */
async function serve(
  t: TestContext,
  answer: () => { status: number; body: unknown } | undefined,
  timeoutMs = PATIENCE_MS,
): Promise<{ reviewer: Reviewer; asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    asked.push({ method: request.method, path: request.url, body: JSON.parse(text) });
    const said = answer();
    if (said) response.writeHead(said.status).end(typeof said.body === 'string' ? said.body : JSON.stringify(said.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const api = openApi({ getCurrentCluster: () => ({ server: url }), applyToHTTPSOptions: async () => undefined });
  return { reviewer: openReviewer(api, new AbortController().signal, timeoutMs), asked };
}

const ok = (status: unknown) => () => ({ status: 201, body: { status } });
const user = { username: 'system:serviceaccount:a:ktrace-viewer', uid: 'u', groups: ['g'], extra: { x: ['1'] } };
const what = { verb: 'watch', group: 'ktrace.dev', resource: 'flows', namespace: 'a' };

describe('reviews', () => {
  it('ask whom a token is of, for the audience alone', async (t) => {
    const { reviewer, asked } = await serve(t, ok({ authenticated: true, user, audiences: ['ktrace.dev'] }));
    assert.deepEqual(await reviewer.token('secret', 'ktrace.dev'), user);
    assert.deepEqual(asked, [
      {
        method: 'POST',
        path: '/apis/authentication.k8s.io/v1/tokenreviews',
        body: {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenReview',
          spec: { token: 'secret', audiences: ['ktrace.dev'] },
        },
      },
    ]);
  });

  for (const [what, status] of Object.entries({
    'that is not authenticated': { authenticated: false, error: 'no' },
    'that is for another audience': { authenticated: true, user, audiences: ['https://kubernetes.default.svc'] },
    'of an authenticator without audiences': { authenticated: true, user },
    'without a user': { authenticated: true, audiences: ['ktrace.dev'] },
    'without a status': undefined,
  })) {
    it(`take a token ${what} for nobody's`, async (t) => {
      const { reviewer } = await serve(t, ok(status));
      assert.equal(await reviewer.token('x', 'ktrace.dev'), undefined);
    });
  }

  it('ask for a right with all that is known of the user', async (t) => {
    const { reviewer, asked } = await serve(t, ok({ allowed: true }));
    assert.equal(await reviewer.access(user, what), true);
    const { username, ...rest } = user;
    assert.deepEqual(asked[0]?.body.spec, { user: username, ...rest, resourceAttributes: what });
    assert.equal(asked[0]?.path, '/apis/authorization.k8s.io/v1/subjectaccessreviews');
  });

  it('take anything but a plain yes for a no', async (t) => {
    for (const status of [{ allowed: false }, { allowed: true, denied: true }, { allowed: 'true' }, {}, undefined]) {
      const { reviewer } = await serve(t, ok(status));
      assert.equal(await reviewer.access(user, what), false);
    }
  });

  it('fail when the API server refuses, breaks off, says no JSON or nothing', async (t) => {
    const answers = [
      { status: 403, body: { message: 'tokenreviews is forbidden' } },
      { status: 500, body: {} },
      { status: 201, body: 'oops' },
      undefined,
    ];
    for (const answer of answers) {
      const { reviewer } = await serve(t, () => answer, answer === undefined ? 100 : PATIENCE_MS);
      await assert.rejects(
        reviewer.token('secret', 'ktrace.dev'),
        (error: Error) => error.name === 'RequestError' && !/secret/.test(error.message),
      );
      await assert.rejects(reviewer.access(user, what), { name: 'RequestError' });
    }
  });
});
