'use strict';

/*
 * Random bytes from the hwentropy daemon, with the names of node:crypto.
 *
 * index.mjs hands the same objects to `import`, so both kinds of module share one
 * generator.  index.d.ts documents each name; docs/node.md the whole.
 */

const api = require('./lib/api.js');
const errors = require('./lib/errors.js');

exports.randomBytes = api.randomBytes;
exports.randomBytesAsync = api.randomBytesAsync;
exports.randomFill = api.randomFill;
exports.randomFillSync = api.randomFillSync;
exports.randomInt = api.randomInt;
exports.randomUUID = api.randomUUID;
exports.promises = api.promises;
exports.configure = api.configure;
exports.isDegraded = api.isDegraded;
exports.isNotLive = api.isNotLive;
exports.close = api.close;

exports.HwentropyError = errors.HwentropyError;
exports.ProtocolError = errors.ProtocolError;
exports.DaemonUnavailable = errors.DaemonUnavailable;
exports.NotPermitted = errors.NotPermitted;
exports.NotSeeded = errors.NotSeeded;
exports.OverQuota = errors.OverQuota;
exports.FailedClosed = errors.FailedClosed;
exports.RequestRefused = errors.RequestRefused;
exports.Timeout = errors.Timeout;
