import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { cleanUp } from './clean-up.ts';

/** A test's context, as far as cleaning up needs one, with what it would do at the end. */
function context(): { t: TestContext; end(): Promise<void> } {
  const hooks: (() => Promise<void>)[] = [];
  const t = { after: (hook: () => Promise<void>) => hooks.push(hook) } as unknown as TestContext;
  return {
    t,
    end: async () => {
      for (const hook of hooks) await hook();
    },
  };
}

test('what was made last is undone first, one after the other, and a step that fails keeps no other from being made', async () => {
  const { t, end } = context();
  const done: string[] = [];
  cleanUp(t, () => done.push('folder'));
  cleanUp(t, () => Promise.reject(new Error('busy')));
  cleanUp(t, async () => {
    await new Promise((resolve) => setImmediate(resolve));
    done.push('recorder');
  });
  await assert.rejects(end(), { message: 'busy' });
  assert.deepEqual(done, ['recorder', 'folder']);
});

test('each test undoes its own', async () => {
  const [one, other] = [context(), context()];
  const done: string[] = [];
  cleanUp(one.t, () => done.push('one'));
  cleanUp(other.t, () => done.push('other'));
  await one.end();
  assert.deepEqual(done, ['one']);
});
