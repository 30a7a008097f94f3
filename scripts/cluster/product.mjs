import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ClusterError } from './access.mjs';

/** The image that the manifests name. */
const IMAGE_OF_THE_MANIFESTS = 'localhost/ktrace:0.1.0';
/** Namespaces of the tests may still be going, on machines that are busy with it. */
const GONE_MS = 180_000;
/** What must not be left. */
const KINDS = 'clusterroles,clusterrolebindings,namespaces,priorityclasses';

/** Builds the image and puts it on every node that stands. The first build on a machine installs Debian packages and npm's. */
export function buildImage({ cluster }, root) {
  return cluster(['image', root, IMAGE_OF_THE_MANIFESTS], 900_000);
}

/** Installs a folder of `deploy/` as a user would, and waits until all its pods are ready. */
export async function install(reach, root, folder, image = IMAGE_OF_THE_MANIFESTS) {
  const rendered = await reach.kubectl(['kustomize', join(root, 'deploy', folder)]);
  await reach.kubectl(['apply', '-f', '-'], rendered.replaceAll(IMAGE_OF_THE_MANIFESTS, image));
  for (const [name, namespace] of [
    ['ktrace-agent', 'ktrace-agents'],
    ['ktrace-gate', 'ktrace'],
  ]) {
    await reach.kubectl(['-n', namespace, 'rollout', 'status', `daemonset/${name}`, '--timeout=180s'], '', 200_000);
  }
}

/** Takes it away and looks whether anything of it, or of the tests, is left in the cluster. */
export async function uninstall(reach, root) {
  await reach.kubectl(
    ['delete', '-k', join(root, 'deploy/base'), '--ignore-not-found', '--wait=true', '--timeout=120s'],
    '',
    150_000,
  );
  let left = [];
  for (const endMs = performance.now() + GONE_MS; performance.now() < endMs; await delay(500)) {
    const named = await reach.kubectl(['get', KINDS, '-o', 'name']);
    left = named.split('\n').filter((line) => line.includes('ktrace'));
    if (left.length === 0) return;
  }
  throw new ClusterError(`Left behind in the cluster: ${left.join(', ')}`);
}
