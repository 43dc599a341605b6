/* Programs whose time is planted: planted WAY FOLDER. In the end a line on stdout says where the time of the
   phase went, in ns, as the program itself measured it: {"wall": .., "ran": .., "ready": .., "waited": ..}.
   ran: on a processor (CPU time), ready: it could have run (run_delay of schedstat), waited: the rest.
   Files in FOLDER, and who serves or locks there, are the test's: see tests/integration/planted.py. */
#include "uring.h"
#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <time.h>
static const char *folder; static char P_[4200];
static const char *in(const char *name){ snprintf(P_,sizeof P_,"%s/%s",folder,name); return P_; }
static long long ns(clockid_t c){ struct timespec t; clock_gettime(c,&t); return t.tv_sec*1000000000LL+t.tv_nsec; }
static long long ready_of(const char *path){ long long ran=0,ready=0; FILE*f=fopen(path,"r"); if(f){ if(fscanf(f,"%lld %lld",&ran,&ready)!=2) ready=0; fclose(f);} return ready; }
static void fail(const char *what){ fprintf(stderr,"planted: %s: %s\n",what,strerror(errno)); exit(9); }
static int opened(const char *name){ int f=open(in(name),O_RDONLY); if(f<0) fail(name); return f; }
static void compute(long long cpu_ns){ volatile unsigned x=0; long long until=ns(CLOCK_PROCESS_CPUTIME_ID)+cpu_ns; while(ns(CLOCK_PROCESS_CPUTIME_ID)<until) for(int i=0;i<10000;i++) x+=i; }
/* reads of 4 KiB, far from each other: the file is read from its end so that nothing is read ahead */
static void scatter(int f,int first,int step){ off_t size=lseek(f,0,SEEK_END); posix_fadvise(f,0,0,POSIX_FADV_RANDOM); for(off_t o=(size/65536-1-first)*65536;o>=0;o-=(off_t)65536*step) if(pread(f,B,4096,o)!=4096) fail("pread"); }
static void scattered(void){ scatter(opened("data"),0,1); }
static void mapped(void){ int f=opened("data"); off_t size=lseek(f,0,SEEK_END); volatile char *m=mmap(0,size,PROT_READ,MAP_SHARED,f,0); if(m==MAP_FAILED) fail("mmap"); madvise((void*)m,size,MADV_RANDOM); for(off_t o=size-65536;o>=0;o-=65536) B[0]+=m[o]; }
static void metadata(void){ struct stat s; char n[64]; for(int i=0;i<300;i++){ snprintf(n,sizeof n,"d%03d",i); DIR*d=opendir(in(n)); if(!d) fail(n); while(readdir(d)); closedir(d); snprintf(n,sizeof n,"d%03d/x",i); if(stat(in(n),&s)) fail(n);} }
static void many(void){ char n[64]; for(int i=0;i<200;i++){ snprintf(n,sizeof n,"f%04d",i); int f=opened(n); if(read(f,B,sizeof B)<=0) fail(n); close(f);} }
static void sequential(void){ int f=opened("data"); while(read(f,B,sizeof B)>0); }
static void through_child(void){ pid_t c=fork(); if(!c){ scattered(); _exit(0);} int s; if(waitpid(c,&s,0)!=c||s) fail("child"); }
static void *worker(void *number){ scatter(opened("data"),(int)(intptr_t)number,4); return 0; }
static void pool(void){ pthread_t t[4]; for(intptr_t i=0;i<4;i++) if(pthread_create(t+i,0,worker,(void*)i)) fail("thread"); for(int i=0;i<4;i++) pthread_join(t[i],0); }
static void uring(void){ struct U u; if(uinit(&u,4,0)) fail("io_uring"); int f=opened("data"); posix_fadvise(f,0,0,POSIX_FADV_RANDOM); int r[4]; uint64_t d[4]; for(off_t o=lseek(f,0,SEEK_END)-65536;o>=0;o-=65536){ sqe(&u,IORING_OP_READ,f,o,B,4096,1); if(sub(&u,1,1)<0||reap(&u,r,d,4)!=1||r[0]!=4096) fail("uring read"); } }
static void computed(void){ compute(1000000000); scattered(); }
static void nap(void){ struct timespec t={1,500000000}; nanosleep(&t,0); }
static void busy(void){ compute(1500000000); }
static int tcp(int port){ int s=socket(AF_INET,SOCK_STREAM,0); struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port),.sin_addr.s_addr=htonl(INADDR_LOOPBACK)}; if(connect(s,(void*)&a,sizeof a)) fail("connect"); return s; }
static void server(void){ int s=tcp(atoi(getenv("PORT"))); if(write(s,"x",1)!=1||recv(s,B,1,0)!=1) fail("recv"); }
static void lock(void){ int f=opened("lock"); if(flock(f,LOCK_EX)) fail("flock"); }
static void pipe_(void){ int p[2]; if(pipe(p)) fail("pipe"); if(!fork()){ nap(); if(write(p[1],"x",1)!=1) _exit(1); _exit(0);} if(read(p[0],B,1)!=1) fail("read"); wait(0); }
static void again(void){ long long until=ns(CLOCK_MONOTONIC)+1500000000; while(ns(CLOCK_MONOTONIC)<until) sequential(); }
static void timer(void){ int t=timerfd_create(CLOCK_MONOTONIC,0); struct itimerspec s={.it_value={1,500000000}}; timerfd_settime(t,0,&s,0); if(read(t,B,8)!=8) fail("timerfd"); }
static void alarmed(int n){ (void)n; }
static void signalled(void){ signal(SIGALRM,alarmed); struct itimerval t={.it_value={1,500000}}; setitimer(ITIMER_REAL,&t,0); pause(); }
static void daemon_(void){ int s=socket(AF_UNIX,SOCK_STREAM,0),e=epoll_create1(0); struct sockaddr_un a={.sun_family=AF_UNIX}; snprintf(a.sun_path,sizeof a.sun_path,"%s/daemon",folder); if(connect(s,(void*)&a,sizeof a)||write(s,"x",1)!=1) fail("daemon"); struct epoll_event v={.events=EPOLLIN}; epoll_ctl(e,EPOLL_CTL_ADD,s,&v); if(epoll_wait(e,&v,1,-1)!=1) fail("epoll"); }
static const struct { const char *name; void (*go)(void); } ways[]={{"scattered",scattered},{"mapped",mapped},{"metadata",metadata},{"many",many},{"sequential",sequential},{"child",through_child},{"pool",pool},{"uring",uring},{"computed",computed},{"sleep",nap},{"busy",busy},{"server",server},{"lock",lock},{"pipe",pipe_},{"again",again},{"timer",timer},{"signal",signalled},{"daemon",daemon_}};
int main(int argc,char**argv){ if(argc<3) return 2; folder=argv[2]; struct rusage u; 
 for(unsigned i=0;i<sizeof ways/sizeof*ways;i++) if(!strcmp(ways[i].name,argv[1])){
  long long wall=ns(CLOCK_MONOTONIC),cpu=ns(CLOCK_PROCESS_CPUTIME_ID),ready=ready_of("/proc/self/schedstat");
  ways[i].go();
  wall=ns(CLOCK_MONOTONIC)-wall; cpu=ns(CLOCK_PROCESS_CPUTIME_ID)-cpu; ready=ready_of("/proc/self/schedstat")-ready;
  getrusage(RUSAGE_CHILDREN,&u); cpu+=(u.ru_utime.tv_sec+u.ru_stime.tv_sec)*1000000000LL+(u.ru_utime.tv_usec+u.ru_stime.tv_usec)*1000LL;
  printf("{\"wall\": %lld, \"ran\": %lld, \"ready\": %lld, \"waited\": %lld}\n",wall,cpu,ready,wall-cpu-ready); return 0; }
 return 2; }
