import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { labUp } from '../../../../src/lab/up.ts';
import type { Answer } from './ask.ts';
import type { Given } from './asking.ts';
import { LEFT_OUT, OF_THE_CLUSTER, OWN_WORDS } from './left-out.ts';
import { compare, type Difference, shapeOf } from './shape.ts';

export type Answers = Record<string, Answer>;
/** Shapes of answers by the names of their requests. */
export type Shapes = Record<string, string[]>;

/** The program that asks everything of the API server of its kubeconfig. */
export const RUN = [process.execPath, '--import', 'tsx', join(import.meta.dirname, 'run.ts')];

/** All answers of the API server of a lab that is brought up for it, and that the caller takes down. */
export async function askLab(lab: string, namespace: string): Promise<Answers> {
  const { kubeconfig, pods } = await labUp({ name: lab, agents: false, bound: true });
  const pod = pods.find(({ labels }) => labels['app'] === 'guestbook');
  if (pod === undefined) throw new Error('the lab has no pod of the guestbook');
  const about = { namespace: pod.namespace, name: pod.name, port: 80 };
  const given: Given = { namespace, pod: about, node: pod.node, young: '/api/v1/configmaps' };
  return new Promise((resolve, reject) => {
    const [program = '', ...argv] = RUN;
    const options = { env: { ...process.env, KUBECONFIG: kubeconfig }, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(program, argv, options, (error, stdout, stderr) => {
      if (error === null) resolve(JSON.parse(stdout) as Answers);
      else reject(new Error(`the lab's answers: ${stderr}`, { cause: error }));
    });
    child.stdin?.end(JSON.stringify(given));
  });
}

export function shapesOf(answers: Answers): Shapes {
  return Object.fromEntries(
    Object.entries(answers).map(([name, answer]) => {
      const told = OF_THE_CLUSTER.has(name) ? 'no words' : OWN_WORDS.has(name) ? 'no messages' : 'all';
      return [name, shapeOf(answer, told)];
    }),
  );
}

/** Where the lab says something else than the real server, by request. */
export function differences(lab: Shapes, real: Shapes): Record<string, Difference> {
  const different: Record<string, Difference> = {};
  for (const name of new Set([...Object.keys(lab), ...Object.keys(real)])) {
    const leftOut = [...(LEFT_OUT['*'] ?? []), ...(LEFT_OUT[name] ?? [])];
    const one = compare(lab[name] ?? ['not asked'], real[name] ?? ['not asked'], leftOut);
    if (one.onlyLab.length + one.onlyReal.length > 0) different[name] = one;
  }
  return different;
}
