import { forwards, makeVisitor, refusals, reviews, tokens } from './access.ts';
import type { Answer, ApiUnderTest } from './ask.ts';
import type { Asking, Given } from './asking.ts';
import { applies, discovery, objects } from './objects.ts';
import { lists, watches } from './reads.ts';

/**
 * The requests that agent, client and tests make of an API server, and those that it must refuse: each by a name, with the answer.
 * The same on every server: what they need they make.
 */
export async function contract(api: ApiUnderTest, given: Given): Promise<Record<string, Answer>> {
  const answers: Record<string, Answer> = {};
  const { namespace } = given;
  const asking: Asking = {
    ...given,
    api,
    inside: `/api/v1/namespaces/${namespace}`,
    async say(name, answer) {
      const said = await answer;
      answers[name] = said;
      return said.body as Awaited<ReturnType<Asking['say']>>;
    },
  };
  const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
  await asking.say('create a namespace', api.ask({ method: 'POST', path: '/api/v1/namespaces', body }));
  try {
    const visitor = await makeVisitor(asking);
    await discovery(asking);
    await objects(asking);
    await applies(asking);
    await Promise.all([lists(asking), watches(asking)]);
    await tokens(asking);
    await reviews(asking, visitor);
    await refusals(asking, visitor);
    await forwards(asking, visitor);
  } finally {
    await asking.say('delete a namespace', api.ask({ method: 'DELETE', path: asking.inside }));
  }
  return answers;
}
