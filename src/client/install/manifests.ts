import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { loadAll } from 'js-yaml';
import { agentNamespace, KTRACE_NAMESPACE } from '../../protocol/constants.ts';
import type { KubeObject } from '../cluster/kube-object.ts';

/** A manifest's object. */
export interface Manifest extends KubeObject {
  metadata: KubeObject['metadata'] & { labels?: Record<string, string>; annotations?: Record<string, string> };
  [field: string]: unknown;
}

export interface ManifestOptions {
  /** Folder of a kustomization, e.g. `deploy/base`. */
  folder: string;
  /** What is changed in its objects besides. */
  patches?: readonly Manifest[];
  /** Where ktrace is installed: the gates there, the agents in its `agentNamespace`. */
  namespace: string;
  /** The image of all containers; undefined: the one that the kustomization names. */
  image: string | undefined;
}

interface Kustomization {
  namespace?: string;
  resources?: string[];
  configMapGenerator?: { name: string; files: string[]; options?: { labels?: Record<string, string> } }[];
  patches?: { path: string }[];
  images?: { name: string; newName?: string; newTag?: string }[];
  labels?: { pairs: Record<string, string>; includeTemplates?: boolean }[];
}

type Tree = Record<string, unknown>;

const CLUSTER_KINDS = new Set(['Namespace', 'ClusterRole', 'ClusterRoleBinding', 'PriorityClass']);
/** What others refer to comes first. */
const ORDER = [
  ...['Namespace', 'ResourceQuota', 'ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'NetworkPolicy', 'DaemonSet'],
  ...['ConfigMap', 'PodMonitor', 'PrometheusRule'],
];

/**
 * The objects of a kustomization, in the order to make them: those that `kubectl kustomize` gives, as far as ours use of it (resources, patches,
 * images, labels, ConfigMaps of files without a suffix, a namespace), which a test on a real cluster compares. Nothing but the files of the package is needed for it.
 */
export function renderManifests({ folder, patches = [], namespace, image }: ManifestOptions): Manifest[] {
  const rendered = patched(render(resolve(folder), image), patches).map((manifest) => inNamespace(manifest, namespace));
  return rendered.sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
}

/** The patches of a kustomization, for objects of another one. */
export function patchesOf(folder: string): Manifest[] {
  const { patches = [] } = readYaml(join(folder, 'kustomization.yaml'))[0] as Kustomization;
  return patches.flatMap(({ path }) => readYaml(join(folder, path)) as Manifest[]);
}

function patched(manifests: readonly Manifest[], patches: readonly Manifest[]): Manifest[] {
  return manifests.map((manifest) =>
    patches
      .filter(({ kind, metadata }) => kind === manifest.kind && metadata.name === manifest.metadata.name)
      .reduce((one, patch) => merge(one, patch) as Manifest, manifest),
  );
}

function render(folder: string, image: string | undefined): Manifest[] {
  const kustomization = readYaml(join(folder, 'kustomization.yaml'))[0] as Kustomization;
  const resources = (kustomization.resources ?? []).flatMap((resource) => {
    const path = join(folder, resource);
    return resource.endsWith('.yaml') ? (readYaml(path) as Manifest[]) : render(path, image);
  });
  const manifests = [...resources, ...configMaps(folder, kustomization)].map((manifest) =>
    kustomization.namespace === undefined
      ? manifest
      : { ...manifest, metadata: { ...manifest.metadata, namespace: kustomization.namespace } },
  );
  const labelled = (kustomization.labels ?? []).reduce(
    (all, { pairs, includeTemplates }) => all.map((one) => withLabels(one, pairs, includeTemplates === true)),
    patched(manifests, patchesOf(folder)),
  );
  return (kustomization.images ?? []).reduce((all, { name, newName, newTag }) => {
    const named = image ?? `${newName ?? name}${newTag === undefined ? '' : `:${newTag}`}`;
    return all.map((one) => withImage(one, name, named));
  }, labelled);
}

/** Of files, each `KEY=FILE`. */
function configMaps(folder: string, { configMapGenerator = [] }: Kustomization): Manifest[] {
  return configMapGenerator.map(({ name, files, options: { labels } = {} }) => {
    const pairs = files.map((file) => file.split('=', 2) as [string, string]);
    const data = Object.fromEntries(pairs.map(([key, path]) => [key, readFileSync(join(folder, path), 'utf8')]));
    return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...(labels === undefined ? {} : { labels }) }, data };
  });
}

function readYaml(path: string): unknown[] {
  return loadAll(readFileSync(path, 'utf8')).filter((one) => one !== null && one !== undefined);
}

/** A strategic merge: objects by key, lists of things with names by name (what is new comes first, as kustomize has it), other lists replaced. */
function merge(base: unknown, patch: unknown): unknown {
  if (Array.isArray(base) && Array.isArray(patch) && patch.every((one) => isTree(one) && 'name' in one)) {
    const patches = new Map(patch.map((one: Tree) => [one['name'], one]));
    const merged = base.map((one: Tree) => (patches.has(one['name']) ? merge(one, patches.get(one['name'])) : one));
    const known = new Set(base.map((one: Tree) => one['name']));
    return [...patch.filter((one: Tree) => !known.has(one['name'])), ...merged];
  }
  if (!isTree(base) || !isTree(patch)) return patch;
  const keys = new Set([...Object.keys(base), ...Object.keys(patch)]);
  return Object.fromEntries([...keys].map((key) => [key, key in patch ? merge(base[key], patch[key]) : base[key]]));
}

function withLabels(manifest: Manifest, pairs: Record<string, string>, isForTemplates: boolean): Manifest {
  const labelled = merge(manifest, { metadata: { labels: pairs } });
  const hasTemplate = isTree(manifest['spec']) && 'template' in manifest['spec'];
  return (
    isForTemplates && hasTemplate ? merge(labelled, { spec: { template: { metadata: { labels: pairs } } } }) : labelled
  ) as Manifest;
}

/** Every `image: name` below, at whatever depth. */
function withImage<Value>(value: Value, name: string, image: string): Value {
  if (Array.isArray(value)) return value.map((one) => withImage(one, name, image)) as Value;
  if (!isTree(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [key, key === 'image' && one === name ? image : withImage(one, name, image)]),
  ) as Value;
}

/** The manifests name the two default namespaces; here each becomes the one of this installation. */
function inNamespace(manifest: Manifest, ktraceNamespace: string): Manifest {
  const moved = (name: string | undefined): string => {
    if (name === KTRACE_NAMESPACE) return ktraceNamespace;
    if (name === agentNamespace(KTRACE_NAMESPACE)) return agentNamespace(ktraceNamespace);
    throw new Error(`${manifest.kind} ${manifest.metadata.name} is in neither of ktrace's namespaces: ${name}`);
  };
  const { metadata } = manifest;
  if (manifest.kind === 'Namespace') return { ...manifest, metadata: { ...metadata, name: moved(metadata.name) } };
  const subjects = (manifest['subjects'] as { kind: string; namespace?: string }[] | undefined)?.map((subject) =>
    subject.kind === 'ServiceAccount' ? { ...subject, namespace: moved(subject.namespace) } : subject,
  );
  const bound = subjects === undefined ? manifest : { ...manifest, subjects };
  if (CLUSTER_KINDS.has(manifest.kind)) return bound;
  return { ...bound, metadata: { ...metadata, namespace: moved(metadata.namespace) } };
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Where the package has its manifests: beside `src/` or `dist/`. */
export function deployFolder(): string {
  return join(dirname(dirname(dirname(import.meta.dirname))), 'deploy');
}
