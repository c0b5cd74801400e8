/* Linux's /proc/powerpc/lparcfg as a module, for kernels of distributions that are built without it: its source is
 * included as it is. What the kernel keeps from modules is passed by address, a parameter each (from /proc/kallsyms).
 */
#include <linux/module.h>
#include <linux/hugetlb.h>
#include <asm/drmem.h>
#include <asm/hvcall.h>
#include <asm/machdep.h>
#include <asm/papr-sysparm.h>
#include <asm/vdso_datapage.h>
#include <asm/vio.h>
#include "pseries.h"
#include "vas.h"
#define INCLUDE_VERMAGIC
#include <linux/vermagic.h>

#define HIDDEN(name)                                                                                                   \
    static unsigned long name##_at;                                                                                    \
    module_param(name##_at, ulong, 0)
#define THERE(name) (*(typeof(&name))name##_at)

HIDDEN(CMO_PrPSP);
HIDDEN(CMO_SecPSP);
HIDDEN(drmem_info);
HIDDEN(h_get_mpp_x);
HIDDEN(hugetlb_total_pages);
HIDDEN(papr_sysparm_buf_alloc);
HIDDEN(papr_sysparm_buf_free);
HIDDEN(papr_sysparm_get);
HIDDEN(pseries_security_flavor);
HIDDEN(pseries_vas_dlpar_cpu);
HIDDEN(vdso_data);
#define cmo_get_primary_psp() THERE(CMO_PrPSP)
#define cmo_get_secondary_psp() THERE(CMO_SecPSP)
#define drmem_info THERE(drmem_info)
#define h_get_mpp_x THERE(h_get_mpp_x)
#define hugetlb_total_pages THERE(hugetlb_total_pages)
#define papr_sysparm_buf_alloc THERE(papr_sysparm_buf_alloc)
#define papr_sysparm_buf_free THERE(papr_sysparm_buf_free)
#define papr_sysparm_get THERE(papr_sysparm_get)
#define pseries_security_flavor THERE(pseries_security_flavor)
#define pseries_vas_dlpar_cpu THERE(pseries_vas_dlpar_cpu)
#define vdso_data THERE(vdso_data)

#undef machine_device_initcall
#define machine_device_initcall(machine, function) module_init(function)

#include LPARCFG_SOURCE

MODULE_LICENSE("GPL");
MODULE_INFO(vermagic, VERMAGIC_STRING);

/* What modpost would have written. */
__visible struct module __this_module __section(".gnu.linkonce.this_module") = {
    .name = KBUILD_MODNAME,
    .init = init_module,
    .arch = MODULE_ARCH_INIT,
};
