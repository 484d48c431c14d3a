"""`python -m muxtcp.demo`: nine named channels of random numbers over one socket, live; kill the server and they go on.

feeds.py     what the nine channels carry
server.py    the server: one handler that dispatches on the channel's name
client.py    the client: reconnects for ever, opens the nine channels by name, and reads
board.py     what the client has seen, without a terminal
views.py     the board as plain lines;  live.py  the board drawn by rich
process.py   the server as a child process that is killed and started again
__main__.py  the command
"""
