import { proveLabFiles } from './files.ts';

/** How much of packets: none past its end, and whose. */
proveLabFiles(['kernel/packets/hostile', 'kernel/packets/snap', 'kernel/facts/targets']);
