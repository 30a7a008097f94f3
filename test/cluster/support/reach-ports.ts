import { text } from 'node:stream/consumers';
import { KubeConfig } from '@kubernetes/client-node';
import { forwardPort } from '../../../src/client/cluster/port-forward.ts';

/** Run beside the cluster, with somebody's kubeconfig: what `pods/portforward` gives them of these ports. */
export interface PodPort {
  namespace: string;
  name: string;
  port: number;
}

const config = new KubeConfig();
config.loadFromDefault();
const pods = JSON.parse(await text(process.stdin)) as PodPort[];
/** Of each, in order: the first line of an HTTP answer, empty where nobody answered, or the error in words. */
const answers = await Promise.all(
  pods.map(async ({ namespace, name, port }) => {
    try {
      const connection = await forwardPort(config, { namespace, name }, port, AbortSignal.timeout(20_000));
      connection.write('GET /healthz HTTP/1.0\r\nHost: pod\r\n\r\n');
      return (await text(connection)).split('\r\n')[0] ?? '';
    } catch (error) {
      return (error as Error).message;
    }
  }),
);
process.stdout.write(JSON.stringify(answers));
