import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { askLab, differences, type Shapes, shapesOf } from '../../cluster/support/contract/sides.ts';
import { randomLabName, SKIP } from '../support/lab-fixture.ts';

/** What a real API server (Kubernetes 1.36) said to the same requests: recorded, and held against a real one, by the cluster layer. */
const RECORDING = join(import.meta.dirname, '..', '..', 'fixtures', 'kube', 'contract.json');

suite("the lab's API server", { skip: SKIP }, () => {
  const lab = randomLabName();
  after(() => removeLab(lab));

  test('answers every request of the contract as a real one did', async () => {
    const recorded = JSON.parse(readFileSync(RECORDING, 'utf8')) as Shapes;
    assert.ok(Object.keys(recorded).length > 80);
    const answers = await askLab(lab, `ktrace-contract-${randomBytes(3).toString('hex')}`);
    assert.deepEqual(differences(shapesOf(answers), recorded), {});
  });
});
