<#
.SYNOPSIS
    Checks whether NMSlite can monitor this Windows machine with a given account, and sets what is missing if asked.

.DESCRIPTION
    Without -Apply nothing is changed: it prints a table of checks. With -Apply it changes what the table calls MISSING,
    and nothing else; a second run changes nothing. With -Undo it takes back what -Apply did for this account: group
    memberships, the right on the namespace, and the firewall rules named NMSlite-*. Services, listeners and certificates
    stay: others may use them by now.

    docs/windows.md of NMSlite explains every check. Exit code: 0 when nothing is missing, 1 otherwise.

.PARAMETER Account
    The account that NMSlite signs in with: DOMAIN\name, or name of a local account. It need not be an administrator.

.PARAMETER ServerAddress
    The addresses of the NMSlite server. Firewall rules let in these and nobody else.

.PARAMETER Protocol
    WinRM (port 5985, messages sealed by NTLM), WinRMHttps (port 5986) or WMI (port 135 and a dynamic port).

.PARAMETER CertificateThumbprint
    For WinRMHttps: a certificate of the store LocalMachine\My, for server authentication in this machine's name. Without
    it, one that fits is looked for.

.EXAMPLE
    .\Enable-NMSliteMonitoring.ps1 -Account CORP\monitor
    Checks, and changes nothing.

.EXAMPLE
    .\Enable-NMSliteMonitoring.ps1 -Account CORP\monitor -ServerAddress 10.0.0.20 -Apply
    Sets what is missing for WinRM.
#>
#Requires -Version 5.1
#Requires -PSEdition Desktop
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'Medium')]
param(
    [Parameter(Mandatory = $true)]
    [ValidateNotNullOrEmpty()]
    [string] $Account,

    [string[]] $ServerAddress = @(),

    [ValidateSet('WinRM', 'WinRMHttps', 'WMI')]
    [string] $Protocol = 'WinRM',

    [ValidatePattern('^([0-9A-Fa-f]{40})?$')]
    [string] $CertificateThumbprint = '',

    [switch] $Apply,

    [switch] $Undo
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# Groups by their SIDs: their names are translated.
$RemoteManagementUsers = 'S-1-5-32-580'
$PerformanceMonitorUsers = 'S-1-5-32-558'
$DistributedComUsers = 'S-1-5-32-562'
# What NMSlite reads, all of it in one namespace.
$Namespace = 'root\cimv2'
$Classes = @(
    'Win32_OperatingSystem'
    'Win32_LogicalDisk'
    'Win32_PerfRawData_PerfOS_Processor'
    'Win32_PerfRawData_Tcpip_NetworkInterface'
    'Win32_ComputerSystem'
)
# WBEM_ENABLE and WBEM_REMOTE_ACCESS: "Enable Account" and "Remote Enable".
$NamespaceRights = 0x21
# GENERIC_READ and GENERIC_EXECUTE, as a signed number.
$WinRMRights = -1610612736

$script:Results = New-Object System.Collections.ArrayList

# One row of the table. State: OK, MISSING, CHANGED, LOOK (not ours to change) or FAILED.
function Add-Result([string] $Check, [string] $State, [string] $Detail) {
    [void] $script:Results.Add([pscustomobject] @{ Check = $Check; State = $State; Detail = $Detail })
}

# Tests one thing; sets it when it is missing and -Apply was given, and tests it again.
function Test-Setting([string] $Check, [scriptblock] $Test, [scriptblock] $Set, [string] $Detail) {
    try {
        if (& $Test) {
            Add-Result $Check 'OK' ''
            return
        }
        if (-not $Apply -or -not $PSCmdlet.ShouldProcess($env:COMPUTERNAME, "$Check ($Detail)")) {
            Add-Result $Check 'MISSING' $Detail
            return
        }
        & $Set
        if (& $Test) { Add-Result $Check 'CHANGED' $Detail } else { Add-Result $Check 'FAILED' "still missing: $Detail" }
    } catch {
        Add-Result $Check 'FAILED' $_.Exception.Message
    }
}

function Resolve-AccountSid([string] $Name) {
    try {
        $ntAccount = New-Object System.Security.Principal.NTAccount($Name)
        return $ntAccount.Translate([System.Security.Principal.SecurityIdentifier])
    } catch {
        throw "There is no account $Name here or in the domain: $($_.Exception.Message)"
    }
}

# Local groups over ADSI: Get-LocalGroupMember fails on groups with members that were deleted, and on domain controllers.
function Get-Group([string] $GroupSid) {
    $sid = New-Object System.Security.Principal.SecurityIdentifier($GroupSid)
    $name = $sid.Translate([System.Security.Principal.NTAccount]).Value.Split('\')[-1]
    return [ADSI] "WinNT://$env:COMPUTERNAME/$name,group"
}

function Test-Member([string] $GroupSid) {
    $group = Get-Group $GroupSid
    foreach ($member in @($group.Invoke('Members'))) {
        $bytes = $member.GetType().InvokeMember('objectSid', 'GetProperty', $null, $member, $null)
        $sid = New-Object System.Security.Principal.SecurityIdentifier($bytes, 0)
        if ($sid.Value -eq $script:Sid.Value) { return $true }
    }
    return $false
}

function Add-Member([string] $GroupSid) { (Get-Group $GroupSid).Invoke('Add', "WinNT://$($script:Sid.Value)") }
function Remove-Member([string] $GroupSid) { (Get-Group $GroupSid).Invoke('Remove', "WinNT://$($script:Sid.Value)") }

# The rights of the namespace, as WMI keeps them.
function Get-NamespaceSecurity {
    $security = Get-WmiObject -Namespace $Namespace -Class __SystemSecurity
    $answer = $security.GetSecurityDescriptor()
    if ($answer.ReturnValue -ne 0) { throw "reading the rights of $Namespace failed with $($answer.ReturnValue)" }
    return @{ Security = $security; Descriptor = $answer.Descriptor }
}

function Set-NamespaceSecurity($Security, $Descriptor) {
    $answer = $Security.SetSecurityDescriptor($Descriptor.PSObject.ImmediateBaseObject)
    if ($answer.ReturnValue -ne 0) { throw "writing the rights of $Namespace failed with $($answer.ReturnValue)" }
}

function Test-NamespaceRights {
    $state = Get-NamespaceSecurity
    foreach ($ace in @($state.Descriptor.DACL)) {
        $isAllowed = $ace.AceType -eq 0 -and ($ace.AccessMask -band $NamespaceRights) -eq $NamespaceRights
        if ($isAllowed -and $ace.Trustee.SidString -eq $script:Sid.Value) { return $true }
    }
    return $false
}

function Grant-NamespaceRights {
    $state = Get-NamespaceSecurity
    $trustee = ([wmiclass] 'Win32_Trustee').CreateInstance()
    $trustee.SidString = $script:Sid.Value
    $ace = ([wmiclass] 'Win32_ACE').CreateInstance()
    $ace.AccessMask = $NamespaceRights
    $ace.AceFlags = 0
    $ace.AceType = 0
    $ace.Trustee = $trustee
    $state.Descriptor.DACL += $ace.PSObject.ImmediateBaseObject
    Set-NamespaceSecurity $state.Security $state.Descriptor
}

# Takes back exactly the entry that was granted here, and no wider one.
function Revoke-NamespaceRights {
    $state = Get-NamespaceSecurity
    $kept = @($state.Descriptor.DACL | Where-Object {
            -not ($_.Trustee.SidString -eq $script:Sid.Value -and $_.AceType -eq 0 -and $_.AccessMask -eq $NamespaceRights)
        })
    $state.Descriptor.DACL = @($kept | ForEach-Object { $_.PSObject.ImmediateBaseObject })
    Set-NamespaceSecurity $state.Security $state.Descriptor
}

# Whether the group Remote Management Users may use WinRM at all; since Windows Server 2012 it may.
function Test-WinRMRights {
    $sddl = (Get-Item WSMan:\localhost\Service\RootSDDL).Value
    $descriptor = New-Object System.Security.AccessControl.CommonSecurityDescriptor($false, $false, $sddl)
    foreach ($ace in $descriptor.DiscretionaryAcl) {
        if ($ace.SecurityIdentifier.Value -in @($RemoteManagementUsers, $script:Sid.Value)) { return $true }
    }
    return $false
}

function Grant-WinRMRights {
    $sddl = (Get-Item WSMan:\localhost\Service\RootSDDL).Value
    $descriptor = New-Object System.Security.AccessControl.CommonSecurityDescriptor($false, $false, $sddl)
    $group = New-Object System.Security.Principal.SecurityIdentifier($RemoteManagementUsers)
    $descriptor.DiscretionaryAcl.AddAccess('Allow', $group, $WinRMRights, 'None', 'None')
    Set-Item WSMan:\localhost\Service\RootSDDL -Value $descriptor.GetSddlForm('All') -Force
}

function Get-Listener([string] $Transport) {
    foreach ($listener in @(Get-ChildItem WSMan:\localhost\Listener)) {
        if (@($listener.Keys) -contains "Transport=$Transport") { return $listener }
    }
    return $null
}

# For server authentication, with its key, valid now.
function Get-UsableCertificate {
    $now = Get-Date
    $found = @(Get-ChildItem Cert:\LocalMachine\My | Where-Object {
            $_.HasPrivateKey -and $_.NotBefore -le $now -and $_.NotAfter -gt $now -and
            @($_.EnhancedKeyUsageList | ForEach-Object { $_.ObjectId }) -contains '1.3.6.1.5.5.7.3.1'
        })
    if ($CertificateThumbprint) { $found = @($found | Where-Object { $_.Thumbprint -eq $CertificateThumbprint }) }
    return $found | Sort-Object NotAfter -Descending | Select-Object -First 1
}

# A rule of Windows' own that is enabled, or ours.
function Test-Firewall([string[]] $Names) {
    foreach ($name in $Names) {
        $rule = Get-NetFirewallRule -Name $name -ErrorAction SilentlyContinue
        if ($null -ne $rule -and @($rule | Where-Object { $_.Enabled -eq 'True' }).Count -gt 0) { return $true }
    }
    return $false
}

function Add-FirewallRule([string] $Name, [string] $Title, [hashtable] $Options) {
    if ($ServerAddress.Count -eq 0) { throw 'give -ServerAddress: the rule lets in these addresses and nobody else' }
    New-NetFirewallRule -Name $Name -DisplayName $Title -Group 'NMSlite' -Direction Inbound -Action Allow `
        -Protocol TCP -RemoteAddress $ServerAddress -Profile Any @Options | Out-Null
}

function Get-RegistryValue([string] $Path, [string] $Name) {
    $item = Get-ItemProperty -Path $Path -ErrorAction SilentlyContinue
    if ($null -eq $item -or $null -eq $item.PSObject.Properties[$Name]) { return $null }
    return $item.$Name
}

# --- Who ------------------------------------------------------------------------------------------------------------

$script:Sid = Resolve-AccountSid $Account

# --- Taking it back -------------------------------------------------------------------------------------------------

if ($Undo) {
    if ($PSCmdlet.ShouldProcess($env:COMPUTERNAME, "take back what $Account was granted for NMSlite")) {
        foreach ($group in @($RemoteManagementUsers, $PerformanceMonitorUsers, $DistributedComUsers)) {
            if (Test-Member $group) { Remove-Member $group }
        }
        Revoke-NamespaceRights
        Get-NetFirewallRule -Group 'NMSlite' -ErrorAction SilentlyContinue | Remove-NetFirewallRule
        Write-Output "Taken back for $Account. Services, listeners and certificates are as they were."
    }
    exit 0
}

# --- The account's rights -------------------------------------------------------------------------------------------

Test-Setting 'Group: Performance Monitor Users' { Test-Member $PerformanceMonitorUsers } `
    { Add-Member $PerformanceMonitorUsers } 'reads performance counters'

Test-Setting "Namespace: $Namespace" { Test-NamespaceRights } { Grant-NamespaceRights } `
    'Enable Account and Remote Enable'

if ($Protocol -eq 'WMI') {
    Test-Setting 'Group: Distributed COM Users' { Test-Member $DistributedComUsers } `
        { Add-Member $DistributedComUsers } 'activates WMI over DCOM'
} else {
    Test-Setting 'Group: Remote Management Users' { Test-Member $RemoteManagementUsers } `
        { Add-Member $RemoteManagementUsers } 'uses WMI over WinRM'
}

# --- The service ----------------------------------------------------------------------------------------------------

if ($Protocol -eq 'WMI') {
    Test-Setting 'Service: Winmgmt' { (Get-Service Winmgmt).Status -eq 'Running' } { Start-Service Winmgmt } 'is stopped'
    $enabled = Get-RegistryValue 'HKLM:\SOFTWARE\Microsoft\Ole' 'EnableDCOM'
    if ($enabled -eq 'Y') {
        Add-Result 'DCOM' 'OK' ''
    } else {
        Add-Result 'DCOM' 'LOOK' 'EnableDCOM is not Y (dcomcnfg, My Computer, Default Properties); then restart Windows'
    }
} else {
    Test-Setting 'Service: WinRM' {
        $service = Get-Service WinRM
        $service.Status -eq 'Running' -and $service.StartType -eq 'Automatic'
    } {
        Set-Service WinRM -StartupType Automatic
        Start-Service WinRM
    } 'runs, and starts with Windows'

    if ((Get-Service WinRM).Status -eq 'Running') {
        Test-Setting 'WinRM: who may use it' { Test-WinRMRights } { Grant-WinRMRights } 'Remote Management Users'

        Test-Setting 'WinRM: Negotiate' { (Get-Item WSMan:\localhost\Service\Auth\Negotiate).Value -eq 'true' } `
            { Set-Item WSMan:\localhost\Service\Auth\Negotiate -Value $true } 'NTLM comes by Negotiate'

        if ((Get-Item WSMan:\localhost\Service\AllowUnencrypted).Value -eq 'true') {
            Add-Result 'WinRM: AllowUnencrypted' 'LOOK' 'true; NMSlite does not need it: messages are sealed. Better false'
        } else {
            Add-Result 'WinRM: AllowUnencrypted' 'OK' ''
        }

        if ($Protocol -eq 'WinRM') {
            Test-Setting 'WinRM: HTTP listener' { $null -ne (Get-Listener 'HTTP') } {
                New-Item -Path WSMan:\localhost\Listener -Transport HTTP -Address * -Force | Out-Null
            } 'port 5985'
        } else {
            Test-Setting 'WinRM: HTTPS listener' { $null -ne (Get-Listener 'HTTPS') } {
                $certificate = Get-UsableCertificate
                if ($null -eq $certificate) { throw 'no certificate for server authentication in LocalMachine\My' }
                New-Item -Path WSMan:\localhost\Listener -Transport HTTPS -Address * `
                    -CertificateThumbPrint $certificate.Thumbprint -Force | Out-Null
            } 'port 5986'
        }
    } else {
        Add-Result 'WinRM: settings' 'MISSING' 'can be read when the service runs'
    }
}

# --- The firewall ---------------------------------------------------------------------------------------------------

switch ($Protocol) {
    'WinRM' {
        Test-Setting 'Firewall: TCP 5985' { Test-Firewall @('NMSlite-WinRM-HTTP', 'WINRM-HTTP-In-TCP') } {
            Add-FirewallRule 'NMSlite-WinRM-HTTP' 'NMSlite: WinRM (HTTP)' @{ LocalPort = 5985 }
        } "lets in $ServerAddress"
    }
    'WinRMHttps' {
        Test-Setting 'Firewall: TCP 5986' { Test-Firewall @('NMSlite-WinRM-HTTPS') } {
            Add-FirewallRule 'NMSlite-WinRM-HTTPS' 'NMSlite: WinRM (HTTPS)' @{ LocalPort = 5986 }
        } "lets in $ServerAddress"
    }
    'WMI' {
        Test-Setting 'Firewall: TCP 135' { Test-Firewall @('NMSlite-WMI-RPCSS', 'WMI-RPCSS-In-TCP') } {
            Add-FirewallRule 'NMSlite-WMI-RPCSS' 'NMSlite: WMI (DCOM)' @{
                LocalPort = 135; Program = '%SystemRoot%\system32\svchost.exe'; Service = 'rpcss'
            }
        } "lets in $ServerAddress"
        # "RPC": whichever dynamic port the service has.
        Test-Setting 'Firewall: WMI, dynamic port' { Test-Firewall @('NMSlite-WMI-WINMGMT', 'WMI-WINMGMT-In-TCP') } {
            Add-FirewallRule 'NMSlite-WMI-WINMGMT' 'NMSlite: WMI' @{
                LocalPort = 'RPC'; Program = '%SystemRoot%\system32\svchost.exe'; Service = 'winmgmt'
            }
        } "lets in $ServerAddress"
    }
}

# --- What only its owner should change ------------------------------------------------------------------------------

$restriction = Get-RegistryValue 'HKLM:\SYSTEM\CurrentControlSet\Control\Lsa\MSV1_0' 'RestrictReceivingNTLMTraffic'
if ($restriction -eq 1 -or $restriction -eq 2) {
    Add-Result 'Policy: Restrict NTLM' 'LOOK' 'incoming NTLM is denied here, and NMSlite signs in with NTLM'
} else {
    Add-Result 'Policy: Restrict NTLM' 'OK' ''
}

foreach ($class in $Classes) {
    try {
        if (@(Get-WmiObject -Namespace $Namespace -Class $class).Count -gt 0) {
            Add-Result "Class: $class" 'OK' ''
        } else {
            Add-Result "Class: $class" 'LOOK' 'has no instances'
        }
    } catch {
        Add-Result "Class: $class" 'LOOK' "cannot be read ($($_.Exception.Message)); lodctr /R rebuilds the counters"
    }
}

$script:Results | Format-Table -AutoSize -Wrap | Out-String -Width 200 | Write-Output
$missing = @($script:Results | Where-Object { $_.State -in @('MISSING', 'FAILED') })
if ($missing.Count -gt 0) {
    if (-not $Apply) { Write-Output "$($missing.Count) missing. -Apply sets them." }
    exit 1
}
Write-Output "Nothing is missing. From the NMSlite server: nmslite doctor ADDRESS --credential NAME"
exit 0
