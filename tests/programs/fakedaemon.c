/* A daemon that starts programs for its clients, as libvirtd and dockerd do.

   fakedaemon serve SOCKET A B     listens; prints "ready"; goes on until it is ended
   fakedaemon prefork SOCKET A B   the same, by a worker that is there before the first client comes
   fakedaemon client SOCKET        asks once, prints the answer, ends with 0 if all went well

   For each client it forks a child with a mount namespace of its own and without privileges, which makes 23 reads of
   the files A (buffered) and B (past the page cache), and tells of them in $EXPECT. Both files have 1 MiB at least.
   The answer: the child's number, and the TracerPid of the child and of the one who forked it. */
#include "own.h"
#include <grp.h>
#include <sys/mount.h>
#include <sys/un.h>
#define STEP 4096

static int tracer(void){
  char text[8192]; int fd=open("/proc/self/status",O_RDONLY|O_CLOEXEC); ssize_t n=read(fd,text,sizeof text-1); close(fd);
  if(n<0) return -1; text[n]=0; char*at=strstr(text,"TracerPid:"); return at?atoi(at+10):-1;
}

/* A: 12 reads at odd places and with odd sizes, by three calls. B: 11, aligned, by two. In turns. */
static void work(const char*a, const char*b){
  int plain=open(a,O_RDONLY|O_CLOEXEC), direct=open(b,O_RDONLY|O_CLOEXEC|O_DIRECT);
  if(plain<0||direct<0) _exit(3);
  void*page; if(posix_memalign(&page,STEP,2*STEP)) _exit(4);
  for(int i=0;i<23;i++){
    ssize_t n; long long at; int want;
    if(i%2==0){
      at=(long long)((i*37)%24)*40961+i; want=1000+i*7;
      if(i%6==0){ lseek(plain,at,SEEK_SET); n=read(plain,B,want); }
      else if(i%6==2) n=pread(plain,B,want,at);
      else { struct iovec v[2]={{B,500},{B+500,want-500}}; n=preadv(plain,v,2,at); }
      if(n!=want) _exit(5);
      E(a,at,n);
    } else {
      at=(long long)((i*53)%64)*4*STEP; want=i%4==1?STEP:2*STEP;
      if(i%3==0){ lseek(direct,at,SEEK_SET); n=read(direct,page,want); } else n=pread(direct,page,want,at);
      if(n!=want) _exit(6);
      E(b,at,n);
    }
  }
  _exit(0);
}

static void answer(int client, const char*a, const char*b){
  char byte, words[100]; if(read(client,&byte,1)!=1) return;
  int inside[2]; if(pipe2(inside,O_CLOEXEC)) return;
  pid_t child=fork();
  if(child==0){
    int seen=tracer(); if(write(inside[1],&seen,sizeof seen)!=sizeof seen) _exit(1);
    if(unshare(CLONE_NEWNS)||mount(0,"/",0,MS_REC|MS_PRIVATE,0)) _exit(2);
    if(setgroups(0,0)||setgid(65534)||setuid(65534)) _exit(2);
    work(a,b);
  }
  close(inside[1]);
  int seen=-1, status=-1; if(read(inside[0],&seen,sizeof seen)!=sizeof seen) seen=-1;
  close(inside[0]); waitpid(child,&status,0);
  int n=snprintf(words,sizeof words,"%d %d %d %d\n",status,child,seen,tracer());
  if(write(client,words,n)!=n) return;
}

static int serve(int listening, const char*a, const char*b){
  for(;;){
    int client=accept4(listening,0,0,SOCK_CLOEXEC); if(client<0) return 1;
    answer(client,a,b); close(client);
  }
}

int main(int argc, char**argv){
  if(argc<3) return 2;
  struct sockaddr_un where={.sun_family=AF_UNIX}; snprintf(where.sun_path,sizeof where.sun_path,"%s",argv[2]);
  int fd=socket(AF_UNIX,SOCK_STREAM|SOCK_CLOEXEC,0);
  if(!strcmp(argv[1],"client")){
    char words[100]; int status=-1;
    if(connect(fd,(void*)&where,sizeof where)||write(fd,"?",1)!=1) return 1;
    ssize_t n=read(fd,words,sizeof words-1); if(n<=0) return 1;
    words[n]=0; fputs(words,stdout); sscanf(words,"%d",&status); return status!=0;
  }
  if(argc<5||bind(fd,(void*)&where,sizeof where)||listen(fd,16)) return 1;
  signal(SIGPIPE,SIG_IGN);
  pid_t worker=strcmp(argv[1],"prefork")?-1:fork();
  if(worker==0){ prctl(PR_SET_PDEATHSIG,SIGKILL); return serve(fd,argv[3],argv[4]); }
  puts("ready"); fflush(stdout);
  if(worker>0) return waitpid(worker,0,0)<0;
  return serve(fd,argv[3],argv[4]);
}
