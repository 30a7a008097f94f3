import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { removeLab } from '../../src/lab/machine/remove.ts';
import { GATE_PORT } from '../../src/protocol/constants.ts';
import { SKIP as LAB_SKIP, randomLabName } from '../lab/support/lab-fixture.ts';
import { before } from '../support/evidence.ts';
import { until } from '../support/until.ts';
import { apply, beside, kubectl, SKIP } from './support/cluster.ts';
import type { Given } from './support/contract/asking.ts';
import { LEFT_OUT, OF_THE_CLUSTER, OWN_WORDS } from './support/contract/left-out.ts';
import { type Answers, askLab, differences, RUN, shapesOf } from './support/contract/sides.ts';
import { productIsReady, readyPods } from './support/product.ts';

/** With `KTRACE_RECORD_CONTRACT=1` what the real server says is kept here, for machines without a cluster. */
const RECORDING = join(import.meta.dirname, '..', 'fixtures', 'kube', 'contract.json');

const YOUNG = '/apis/contract.ktrace.dev/v1/youngs';
/** A kind that is made only now: the API server knows nothing of it from before. */
const YOUNG_CRD = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'youngs.contract.ktrace.dev' },
  spec: {
    group: 'contract.ktrace.dev',
    scope: 'Cluster',
    names: { kind: 'Young', plural: 'youngs', singular: 'young', listKind: 'YoungList' },
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
};

suite("the lab's API server answers as a real one", { skip: SKIP || LAB_SKIP }, () => {
  const lab = randomLabName();
  let ofLab: Answers;
  let real: Answers;

  before(async () => {
    const namespace = `ktrace-contract-${randomBytes(3).toString('hex')}`;
    [ofLab, real] = await Promise.all([askLab(lab, namespace), askReal(namespace)]);
    if (process.env['KTRACE_RECORD_CONTRACT'] === '1') writeFileSync(RECORDING, `${JSON.stringify(shapesOf(real), null, 1)}\n`);
  });
  after(() => removeLab(lab));

  test('to every request with the same status, the same fields of the same types, and the same words where clients decide by them', () => {
    assert.ok(Object.keys(real).length > 80, `${Object.keys(real).length} requests`);
    assert.deepEqual(differences(shapesOf(ofLab), shapesOf(real)), {});
  });

  test('and no exception from this is idle', () => {
    for (const name of [...Object.keys(LEFT_OUT), ...OF_THE_CLUSTER, ...OWN_WORDS]) assert.ok(name === '*' || name in real, name);
  });
});

async function askReal(namespace: string): Promise<Answers> {
  await productIsReady();
  const [gate] = await readyPods('gate');
  assert.ok(gate !== undefined);
  await apply([YOUNG_CRD]);
  try {
    await kubectl('wait', '--for=condition=Established', `crd/${YOUNG_CRD.metadata.name}`, '--timeout=30s');
    // Until then the API server says that it is initializing.
    await until('the new kind to be served', () => kubectl('get', '--raw', `${YOUNG}?resourceVersion=0`).catch(() => false));
    const pod = { namespace: 'ktrace', name: gate.name, port: GATE_PORT };
    const given: Given = { namespace, pod, node: gate.node, young: YOUNG };
    const { stdout } = await beside(RUN, JSON.stringify(given));
    return JSON.parse(stdout) as Answers;
  } finally {
    await kubectl('delete', 'crd', YOUNG_CRD.metadata.name);
  }
}
