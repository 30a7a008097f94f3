import type { Address, BpfObject, LinkChange, LinkWatcher, NativeModule, RingReader } from './types.ts';

/** The addon's own exports (native/src/addon.cc). It trusts its arguments' types: only the wrappers beside this file call it. */
export interface RawAddon {
  BpfObject: new (path: string, options: RawOpenOptions, shared: RawBpfObject | undefined) => RawBpfObject;
  RingReader: new (
    object: RawBpfObject,
    map: string,
    intervalMs: number,
    batchBytes: number,
    mostBusy: number,
    unref: boolean,
    /** Empty: never. */
    restsIn: string,
    onRecords: (records: Buffer) => void,
  ) => RingReader;
  LinkWatcher: new (onChange: (change: LinkChange) => void) => LinkWatcher;
  StatsHandle: new () => { close(): void };
  FileGuard: new (path: string, mark: string, value: string) => ReturnType<NativeModule['guardFile']>;
  /** -1: this namespace. */
  addresses(netnsId: number): Address[];
  defaultRouteInterfaces(): number[];
  realtimeOffsetNs(): bigint;
  trimMemory(): void;
  tcxSupported(): boolean;
  tryFentry(): void;
  tryKprobe(): void;
  removeStaleFilters(prefix: string): number;
  /** `release` frees what the first question has read; the next one reads it again. */
  btf: NativeModule['btf'] & { release(): void };
}

/** As {@link BpfObject}, with every argument present. */
export type RawBpfObject = {
  [Method in keyof BpfObject]: (...args: Required<Parameters<BpfObject[Method]>>) => ReturnType<BpfObject[Method]>;
};

export interface RawOpenOptions {
  config: Record<string, Uint8Array>;
  expect: Record<string, Uint8Array>;
  mapSizes: Record<string, number>;
  preallocated: Record<string, boolean>;
  without: string[];
  only: string[];
  targets: Record<string, string>;
  moduleBtf: string | undefined;
}
