'use strict';

/*
 * Where the native socket is (docs/protocol.md, "Sockets"): $HWENTROPY_RUNTIME_DIR,
 * else the directory of this user where it has a socket, else /run/hwentropy.
 *
 * What this does not protect against: an environment that somebody else has set.
 */

const fs = require('node:fs');
const path = require('node:path');

const SOCKET = 'entropy.sock';
const SYSTEM = '/run/hwentropy';

/** The native socket's path. */
function entropyPath(environment = process.env, uid = process.geteuid()) {
  const given = environment.HWENTROPY_RUNTIME_DIR;
  if (given) return path.join(given, SOCKET);
  if (uid !== 0) {
    let runtime = environment.XDG_RUNTIME_DIR ?? '';
    // The XDG Base Directory Specification: a relative path is invalid, ignore it.
    if (!path.isAbsolute(runtime)) runtime = `/run/user/${uid}`;
    const own = path.join(runtime, 'hwentropy', SOCKET);
    if (fs.existsSync(own) || !fs.existsSync(path.join(SYSTEM, SOCKET))) return own;
  }
  return path.join(SYSTEM, SOCKET);
}

module.exports = { entropyPath };
