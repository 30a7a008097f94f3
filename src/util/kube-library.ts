import { registerHooks } from 'node:module';

/**
 * `@kubernetes/client-node`, as much of it as reads a kubeconfig and forwards a port. The package has one entrance, through which a class for every
 * object of Kubernetes comes along, and a second HTTP client: 350 ms of each command's start, and 63 of 96 MB (2.0.1, Node 24). No request of ours goes
 * through them. `KubeConfig.makeApiClient` and `createDispatcher` do not work here.
 */
const LIBRARY = '@kubernetes/client-node/dist/';
const IMPORTERS = ['config.js', 'portforward.js'].map((file) => import.meta.resolve(`${LIBRARY}${file}`));
/** What these import and is never called here, by its names. */
const LEFT_OUT: Record<string, string[]> = {
  './gen/index.js': ['createConfiguration', 'ServerConfiguration', 'CoreV1Api', 'AppsV1Api'],
  undici: ['Agent', 'ProxyAgent'],
};

const hooks = registerHooks({
  resolve(specifier, context, next) {
    const names = IMPORTERS.includes(context.parentURL ?? '') ? LEFT_OUT[specifier] : undefined;
    if (names === undefined) return next(specifier, context);
    const text = names.map((name) => `export const ${name} = undefined;`).join('');
    return { url: `data:text/javascript,${text}`, format: 'module', shortCircuit: true };
  },
});
const [config, forwarding] = await Promise.all([
  import('@kubernetes/client-node/dist/config.js'),
  import('@kubernetes/client-node/dist/portforward.js'),
]);
hooks.deregister();

export const { KubeConfig } = config;
export type KubeConfig = InstanceType<typeof KubeConfig>;
export const { PortForward } = forwarding;
