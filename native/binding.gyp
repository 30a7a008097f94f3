{
  'targets': [
    {
      'target_name': 'ktrace_native',
      'sources': [
        'src/addon.cc',
        'src/bpf-code.cc',
        'src/bpf-globals.cc',
        'src/bpf-load.cc',
        'src/bpf-maps.cc',
        'src/bpf-object.cc',
        'src/btf.cc',
        'src/clsact.cc',
        'src/errors.cc',
        'src/kernel-btf.cc',
        'src/libbpf-log.cc',
        'src/link-message.cc',
        'src/link-watcher.cc',
        'src/loop-watch.cc',
        'src/netlink.cc',
        'src/open-options.cc',
        'src/probe-support.cc',
        'src/ring-reader.cc',
        'src/routes.cc',
        'src/stats.cc',
        'src/tcx.cc',
      ],
      'include_dirs': [
        "<!(node -p \"require('node-addon-api').include_dir\")",
      ],
      'defines': [
        'NAPI_VERSION=9',
        'NAPI_DISABLE_CPP_EXCEPTIONS',
        'NODE_ADDON_API_DISABLE_DEPRECATED',
        # A worker that is being terminated cannot be thrown at; without this, trying to ends the process.
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      ],
      'cflags': ['-O2', '-Wall', '-Wextra', '-fvisibility=hidden', '<!@(pkg-config --cflags libbpf)'],
      'cflags_cc!': ['-std=gnu++20', '-std=gnu++17'],
      'cflags_cc': ['-std=c++17', '-fno-exceptions', '-fno-rtti'],
      'libraries': ['<!@(pkg-config --libs libbpf)'],
    },
  ],
}
