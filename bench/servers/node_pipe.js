// Echo server as the first example of Node's net documentation has it, with the options that all servers here have.
const net = require('node:net');

const server = net.createServer({ noDelay: true }, (connection) => {
  connection.on('error', () => {}); // a reset peer must not end the process
  connection.pipe(connection);
});
server.listen(Number(process.argv[2]), '127.0.0.1', 65535, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
