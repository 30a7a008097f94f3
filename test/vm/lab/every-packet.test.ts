import { proveLabFiles } from './files.ts';

/** What is told with every packet asked for, and what is cut of it. */
proveLabFiles(['kernel/counts/every-packet']);
