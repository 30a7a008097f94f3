import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { KubeConfig } from '@kubernetes/client-node';
import { ApiUnderTest } from './ask.ts';
import type { Given } from './asking.ts';
import { contract } from './requests.ts';

/** Run where the API server of the kubeconfig can be reached: asks everything, on stdin what about, and prints the answers. */
const config = new KubeConfig();
config.loadFromDefault();
const given = JSON.parse(await text(process.stdin)) as Given;
process.stdout.write(JSON.stringify(await contract(new ApiUnderTest(config), given)));
if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain');
process.exit(0);
